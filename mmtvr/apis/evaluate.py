"""Evaluate scores or embeddings that any system made."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.errors import SetupError
from mmtvr.evaluation.directions import place_by_id
from mmtvr.evaluation.protocols import (
    PROTOCOLS,
    describe_misfit,
    find_protocol,
)
from mmtvr.evaluation.ranking import TIE_POLICIES, ranks
from mmtvr.evaluation.report import (
    DIRECTIONS,
    Rescoring,
    Table,
    build_report,
    towards,
)
from mmtvr.evaluation.report_picture import draw_ranks
from mmtvr.evaluation.report_text import to_text
from mmtvr.evaluation.rescoring import dual_softmax, qb_norm, sinkhorn

FORMATS = (
    'a .npy with scores (texts, videos); or a .npz with scores, or with text '
    'and video, embeddings (N, D) to be compared by cosine, and optionally '
    'text_video_ids and video_ids'
)
RESCORERS = {'dual-softmax': dual_softmax, 'sinkhorn': sinkhorn}


def load_table(path: Path, match: Path | None = None) -> Table:
    """Read scores or embeddings.

    Args:
        path: See ``FORMATS``.
        match: A .npy with the column of each text's video, (texts,), or a
            bool table (texts, videos) with one True per row. Without it and
            without ids in the file, text i belongs to video i.

    Returns:
        The table.

    Raises:
        SetupError: A file is missing, of another format, or does not say
            which text belongs to which video.
    """
    content = _load(path)
    if isinstance(content, np.ndarray):
        content = {'scores': content}
    scores = _read_scores(path, content)
    texts, videos = scores.shape
    video_ids = torch.arange(videos)
    if match is not None:
        return Table(scores, _read_match(match, texts, videos), video_ids)
    if 'text_video_ids' in content:
        ids = (
            torch.from_numpy(content['text_video_ids']),
            torch.from_numpy(content.get('video_ids', video_ids.numpy())),
        )
        if tuple(map(len, ids)) != (texts, videos):
            raise SetupError(
                f'{path} has {len(ids[0])} and {len(ids[1])} ids for '
                f'{texts} texts and {videos} videos'
            )
        return Table(scores, *ids)
    if texts != videos:
        raise SetupError(
            f'{path} has {texts} texts and {videos} videos and does not say '
            'which belong together: give --match FILE.npy with the column of '
            "each text's video, or text_video_ids in the npz"
        )
    return Table(scores, video_ids, video_ids)


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    if not path.is_file():
        raise SetupError(f'there is no file {path} (from {Path.cwd()})')
    try:
        content = np.load(path, allow_pickle=False)
        return content if isinstance(content, np.ndarray) else dict(content)
    except (ValueError, OSError, EOFError) as error:
        raise SetupError(
            f'{path} cannot be read: {error}. Expected {FORMATS}.'
        ) from error


def _read_scores(path: Path, content: dict[str, np.ndarray]) -> Tensor:
    if 'scores' in content:
        scores = torch.from_numpy(content['scores'])
        if scores.ndim != 2 or not scores.is_floating_point():
            raise SetupError(
                f'scores in {path} are {scores.dtype} of shape '
                f'{tuple(scores.shape)}; expected a floating point table '
                '(texts, videos)'
            )
        return scores
    if {'text', 'video'} <= set(content):
        text, video = (
            normalize(torch.from_numpy(content[name]).float(), dim=-1)
            for name in ('text', 'video')
        )
        if text.ndim != 2 or text.shape[1:] != video.shape[1:]:
            raise SetupError(
                f'embeddings in {path} have shapes {tuple(text.shape)} and '
                f'{tuple(video.shape)}; expected (texts, D) and (videos, D)'
            )
        return text @ video.T
    raise SetupError(f'{path} holds {sorted(content)}; expected {FORMATS}')


def _read_match(path: Path, texts: int, videos: int) -> Tensor:
    match = _load(path)
    if isinstance(match, np.ndarray):
        if match.dtype == bool and match.shape == (texts, videos):
            if (match.sum(1) != 1).any():
                row = int((match.sum(1) != 1).argmax())
                raise SetupError(
                    f'{path}: row {row} has {int(match[row].sum())} videos, '
                    'expected one video for each text'
                )
            return torch.from_numpy(match.argmax(1))
        is_index = np.issubdtype(match.dtype, np.integer)
        if is_index and match.shape == (texts,):
            if match.min() < 0 or match.max() >= videos:
                raise SetupError(
                    f'{path} names columns {match.min()} to {match.max()}, '
                    f'but there are {videos} videos'
                )
            return torch.from_numpy(match.astype(np.int64))
    raise SetupError(
        f'{path} must hold {texts} column numbers, or a bool table '
        f'({texts}, {videos})'
    )


def parse_rescorings(
    names: Sequence[str], bank: Path | None, videos: int
) -> list[Rescoring]:
    """Build rescorings from ``NAME:TEMPERATURE``.

    Args:
        names: Such as ``dual-softmax:0.01`` or ``qb-norm:0.05``.
        bank: For QB-Norm, a .npy with scores (training texts, videos).
        videos: Number of videos.

    Returns:
        The rescorings, in order.

    Raises:
        SetupError: A name or a temperature is wrong, or the bank is missing.
    """
    found = []
    for entry in names:
        name, _, number = entry.partition(':')
        try:
            temperature = float(number)
        except ValueError:
            temperature = 0.0
        known = [*RESCORERS, 'qb-norm']
        if name not in known or temperature <= 0:
            raise SetupError(
                f'--rescore {entry}: expected NAME:TEMPERATURE with a name '
                f'out of {", ".join(known)} and a positive temperature that '
                'was fixed before or tuned on validation data'
            )
        label = f'{name}, temperature {temperature:g}'
        if name == 'qb-norm':
            found.append(_build_qb_norm(label, bank, temperature, videos))
        else:
            found.append(_build_sharpener(label, name, temperature))
    return found


def _build_sharpener(label: str, name: str, temperature: float) -> Rescoring:
    def rescore(scores: Tensor, direction: str) -> Tensor:
        del direction
        return RESCORERS[name](scores, temperature)

    return Rescoring(label, rescore, needs_all_queries=True)


def _build_qb_norm(
    label: str, bank: Path | None, temperature: float, videos: int
) -> Rescoring:
    if bank is None:
        raise SetupError(
            'qb-norm needs --bank FILE.npy: scores of training texts against '
            'the test videos, never of test texts'
        )
    table = _load(bank)
    if not isinstance(table, np.ndarray) or table.shape[1:] != (videos,):
        raise SetupError(f'{bank} must be a table (training texts, {videos})')
    queries = torch.from_numpy(table)

    def rescore(scores: Tensor, direction: str) -> Tensor:
        # A bank of texts says which videos are hubs, nothing about texts.
        if direction == 'v2t':
            return scores
        return qb_norm(scores, queries, temperature)

    return Rescoring(f'{label} (t2v only)', rescore, needs_all_queries=False)


def evaluate_file(args: argparse.Namespace) -> str:
    """Evaluate a file and write the report.

    Args:
        args: The command line, see :func:`parse_args`.

    Returns:
        The report as text.

    Raises:
        SetupError: Something is missing, or the scores cannot be ranked.
    """
    table = load_table(args.file, args.match)
    texts, videos = table.scores.shape
    about = {'file': str(args.file)}
    if args.protocol:
        about |= describe_protocol(args.protocol, texts, videos)
    for fact in args.about:
        name, _, value = fact.partition('=')
        about[name] = value
    rescorings = parse_rescorings(args.rescore, args.bank, videos)
    try:
        report = build_report(table, rescorings, about, args.ties)
    except ValueError as error:
        raise SetupError(f'{args.file}: {error}') from error
    text = to_text(report)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'report.txt').write_text(text, encoding='utf-8')
        (args.out / 'report.json').write_text(
            json.dumps(report.as_dict(), indent=2) + '\n', encoding='utf-8'
        )
        positions = {
            direction: ranks(
                place_by_id(*towards(table, direction)), args.ties
            )
            for direction in DIRECTIONS
        }
        title = args.protocol or args.file.name
        draw_ranks(args.out / 'report.png', positions, title)
    return text


def describe_protocol(name: str, texts: int, videos: int) -> dict[str, str]:
    """Facts about a protocol, for the head of a report.

    Args:
        name: Name of the protocol.
        texts: Number of texts at hand.
        videos: Number of videos at hand.

    Returns:
        Facts by name, with a warning where the sizes do not fit.

    Raises:
        SetupError: If there is no such protocol.
    """
    try:
        protocol = find_protocol(name)
    except ValueError as error:
        raise SetupError(str(error)) from error
    facts = {'protocol': f'{name}: {protocol.about}'}
    if protocol.ceiling is not None:
        facts['ceiling'] = (
            f'{protocol.ceiling:g} % t2v R@1, set by equal captions of '
            'different videos'
        )
    misfit = describe_misfit(protocol, texts, videos)
    if misfit:
        facts['warning'] = misfit
    return facts


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line of ``tools/evaluate.py``.

    Args:
        arguments: The command line; ``sys.argv`` if None.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(
        description='Evaluate scores or embeddings of any system.'
    )
    parser.add_argument('file', type=Path, help=FORMATS)
    parser.add_argument(
        '--match',
        type=Path,
        help="a .npy with the column of each text's video, or a bool table",
    )
    parser.add_argument(
        '--protocol', help=f'one of {", ".join(sorted(PROTOCOLS))}'
    )
    parser.add_argument('--ties', choices=TIE_POLICIES, default='expected')
    parser.add_argument(
        '--rescore',
        nargs='+',
        default=[],
        metavar='NAME:TEMPERATURE',
        help='dual-softmax:0.01, sinkhorn:0.01, qb-norm:0.05',
    )
    parser.add_argument(
        '--bank', type=Path, help='for qb-norm: scores of training texts'
    )
    parser.add_argument(
        '--about',
        nargs='+',
        default=[],
        metavar='NAME=VALUE',
        help='facts to print with the numbers: decoder=decord frames=12',
    )
    parser.add_argument(
        '--out', type=Path, help='folder for report.txt, .json and .png'
    )
    return parser.parse_args(arguments)
