"""Evaluate scores or embeddings that any system made."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mmtvr.apis.score_files import (
    FORMATS,
    as_ids,
    load_bank,
    read_match,
    read_scores,
)
from mmtvr.array_files import load_arrays
from mmtvr.errors import SetupError
from mmtvr.evaluation.protocols import PROTOCOLS, describe_protocol
from mmtvr.evaluation.ranking import TIE_POLICIES
from mmtvr.evaluation.report import Table, build_report
from mmtvr.evaluation.report_text import to_text
from mmtvr.evaluation.rescoring_options import parse_rescorings
from mmtvr.evaluation.retrieval_report import write_report


def load_table(path: Path, match: Path | None = None) -> Table:
    """Read scores or embeddings.

    Args:
        path: See :mod:`mmtvr.apis.score_files`.
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
