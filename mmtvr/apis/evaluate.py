"""Evaluate scores or embeddings that any system made."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.errors import SetupError
from mmtvr.evaluation.metrics import write_report
from mmtvr.evaluation.protocols import PROTOCOLS, describe_protocol
from mmtvr.evaluation.ranking import TIE_POLICIES
from mmtvr.evaluation.report import Table, build_report, to_text
from mmtvr.evaluation.rescoring import parse_rescorings
from mmtvr.files import load_arrays

FORMATS = (
    'a .npy with scores (texts, videos); or a .npz with scores, or with text '
    'and video, embeddings (N, D) to be compared by cosine, and optionally '
    'text_video_ids and video_ids'
)


def as_numbers(path: Path, name: str, array: object) -> Tensor:
    """Turn an array of floating point numbers into a tensor.

    Args:
        path: Where it comes from, for the message.
        name: What it is, for the message.
        array: The array.

    Returns:
        The tensor.

    Raises:
        SetupError: It is something else.
    """
    if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
        kind = getattr(array, 'dtype', type(array).__name__)
        raise SetupError(
            f'{name} in {path} are {kind}, expected floating point numbers'
        )
    return torch.from_numpy(_native(array))


def as_ids(path: Path, name: str, array: np.ndarray) -> Tensor:
    """Turn a vector of integers into a tensor.

    Args:
        path: Where it comes from, for the message.
        name: What it is, for the message.
        array: The array.

    Returns:
        Shape (N,), int64.

    Raises:
        SetupError: It is something else.
    """
    if array.ndim != 1 or array.dtype.kind not in 'iu':
        raise SetupError(
            f'{name} in {path} are {array.dtype} of shape {array.shape}, '
            'expected a vector of integers'
        )
    return torch.from_numpy(array.astype(np.int64))


def _native(array: np.ndarray) -> np.ndarray:
    """Byte order and width that PyTorch has."""
    kind = f'f{min(array.dtype.itemsize, 8)}'
    return np.ascontiguousarray(array, dtype=kind)


def read_scores(path: Path, content: dict[str, np.ndarray]) -> Tensor:
    """Take or compute the table of scores.

    Args:
        path: Where the arrays come from, for messages.
        content: ``scores``, or ``text`` and ``video``.

    Returns:
        Shape (texts, videos), at least one of each.

    Raises:
        SetupError: They are not there or not of this shape.
    """
    if 'scores' in content:
        scores = as_numbers(path, 'scores', content['scores'])
        if scores.ndim != 2 or not scores.numel():
            raise SetupError(
                f'scores in {path} are {scores.dtype} of shape '
                f'{tuple(scores.shape)}; expected a floating point table '
                '(texts, videos)'
            )
        return scores
    if {'text', 'video'} <= set(content):
        text, video = (
            as_numbers(path, f'embeddings "{name}"', content[name]).float()
            for name in ('text', 'video')
        )
        if text.ndim != 2 or text.shape[1:] != video.shape[1:]:
            raise SetupError(
                f'embeddings in {path} have shapes {tuple(text.shape)} and '
                f'{tuple(video.shape)}; expected (texts, D) and (videos, D)'
            )
        if not text.numel() or not video.numel():
            raise SetupError(f'{path} holds no text or no video')
        return normalize(text, dim=-1) @ normalize(video, dim=-1).T
    raise SetupError(f'{path} holds {sorted(content)}; expected {FORMATS}')


def read_match(path: Path, texts: int, videos: int) -> Tensor:
    """Read which video belongs to each text.

    Args:
        path: A .npy with column numbers (texts,), or a bool table (texts,
            videos) with one True per row.
        texts: Number of texts.
        videos: Number of videos.

    Returns:
        Shape (texts,), int64, columns.

    Raises:
        SetupError: It is something else.
    """
    match = load_arrays(path, FORMATS)
    if isinstance(match, np.ndarray):
        if match.dtype == bool and match.shape == (texts, videos):
            if (match.sum(1) != 1).any():
                row = int((match.sum(1) != 1).argmax())
                raise SetupError(
                    f'{path}: row {row} has {int(match[row].sum())} videos, '
                    'expected one video for each text'
                )
            return torch.from_numpy(match.argmax(1))
        if match.dtype.kind in 'iu' and match.shape == (texts,):
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


def load_bank(path: Path, videos: int) -> Tensor:
    """Read a query bank for QB-Norm.

    Args:
        path: A .npy with scores (training texts, videos).
        videos: Number of videos.

    Returns:
        The scores.

    Raises:
        SetupError: The file is missing or of another shape.
    """
    bank = load_arrays(path, FORMATS)
    if not isinstance(bank, np.ndarray) or bank.shape[1:] != (videos,):
        raise SetupError(f'{path} must be a table (training texts, {videos})')
    if not len(bank):
        raise SetupError(f'{path} holds no training text')
    return as_numbers(path, 'scores', bank)


def load_table(path: Path, match: Path | None = None) -> Table:
    """Read scores or embeddings.

    Args:
        path: See :mod:`mmtvr.apis.evaluate`.
        match: A .npy with the column of each text's video, (texts,), or a
            bool table (texts, videos) with one True per row. Without it and
            without ids in the file, text i belongs to video i.

    Returns:
        The table.

    Raises:
        SetupError: A file is missing, of another format, or does not say
            which text belongs to which video.
    """
    content = load_arrays(path, FORMATS)
    if isinstance(content, np.ndarray):
        content = {'scores': content}
    scores = read_scores(path, content)
    texts, videos = scores.shape
    video_ids = torch.arange(videos)
    if match is not None:
        return Table(scores, read_match(match, texts, videos), video_ids)
    if 'text_video_ids' in content:
        content.setdefault('video_ids', video_ids.numpy())
        ids = tuple(
            as_ids(path, name, content[name])
            for name in ('text_video_ids', 'video_ids')
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
    bank = None if args.bank is None else load_bank(args.bank, videos)
    about = {'file': str(args.file)}
    try:
        if args.protocol:
            about |= describe_protocol(args.protocol, texts, videos)
        for fact in args.about:
            name, _, value = fact.partition('=')
            about[name] = value
        rescorings = parse_rescorings(args.rescore, bank)
        report = build_report(table, rescorings, about, args.ties)
    except ValueError as error:
        raise SetupError(f'{args.file}: {error}') from error
    if args.out is not None:
        write_report(args.out, report, table, args.protocol or args.file.name)
    return to_text(report)


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
