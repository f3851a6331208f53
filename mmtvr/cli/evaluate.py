"""``tools/evaluate.py``: evaluate scores or embeddings of any system."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmtvr.cli.command import HelpFormatter, run_command
from mmtvr.errors import SetupError
from mmtvr.evaluation.formats import QRELS_FORMATS, SCORES_FORMATS
from mmtvr.evaluation.protocols import PROTOCOLS, TIE_POLICIES

EXAMPLES = """
examples:
  mmtvr evaluate scores.npz --out report          # of mmtvr test --dump
  mmtvr evaluate sims.npy --match columns.npy --about encoder=CLIP frames=12
  mmtvr evaluate scores.npz --rescore dual-softmax:0.01
  mmtvr evaluate run.trec --qrels qrels.txt
"""


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; that of the process if None."""
    parser = argparse.ArgumentParser(
        'mmtvr evaluate',
        description='Evaluate scores or embeddings of any system.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('file', type=Path, help=SCORES_FORMATS)
    parser.add_argument(
        '--match',
        type=Path,
        help="a .npy with the column of each text's video, or a bool table",
    )
    parser.add_argument('--qrels', type=Path, help=QRELS_FORMATS)
    parser.add_argument(
        '--protocol', help=f'one of {", ".join(sorted(PROTOCOLS))}'
    )
    parser.add_argument('--ties', choices=TIE_POLICIES, default='expected')
    parser.add_argument(
        '--rescore',
        nargs='+',
        default=[],
        metavar='NAME:NUMBER',
        help='dual-softmax:0.01, sinkhorn:0.01, qb-norm:0.05, or nnn:0.75:16 '
        '(alpha and number of neighbors)',
    )
    parser.add_argument(
        '--bank',
        type=Path,
        help='for qb-norm and nnn: scores of training texts',
    )
    parser.add_argument(
        '--fine-grained',
        type=Path,
        metavar='FILE.json',
        help='evaluate the scores on a set of partial captions and twins '
        'instead, whose texts are the rows; tools/data/fine_grained.py '
        'writes one',
    )
    parser.add_argument(
        '--moments',
        type=Path,
        metavar='FILE.jsonl',
        help='evaluate predicted moments instead: the right ones, and the '
        "predictions in place of the scores, in QVHighlights' format",
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
    args = parser.parse_args(arguments)
    for fact in args.about:
        if '=' not in fact:
            parser.error(f'--about takes NAME=VALUE, got {fact!r}')
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; returns the exit status."""
    options = vars(parse_args(arguments))
    return run_command(lambda: print(_report(options)))


def _report(options: dict[str, Any]) -> str:
    """Evaluate as the command line says."""
    from mmtvr.apis.evaluation import evaluate
    from mmtvr.evaluation.report import to_text

    facts = [fact.partition('=') for fact in options.pop('about')]
    about = {name: value for name, _, value in facts}
    captions = options.pop('fine_grained')
    truth = options.pop('moments')
    if truth is not None:
        return _report_moments(truth, captions, options)
    if captions is not None:
        return _report_fine_grained(captions, options)
    return to_text(evaluate(**options, about=about))


def _report_moments(
    truth: Path, captions: Path | None, options: dict[str, Any]
) -> str:
    from mmtvr.apis.evaluation import evaluate_moments
    from mmtvr.evaluation.moments import to_text

    file, out = options.pop('file'), options.pop('out')
    options.pop('ties')
    given = [name for name, value in options.items() if value]
    if captions is not None or given:
        raise SetupError(
            f'--{given[0] if given else "fine-grained"} has no use with '
            '--moments, which only takes the predictions and --out'
        )
    return to_text(evaluate_moments(file, truth, out=out))


def _report_fine_grained(captions: Path, options: dict[str, Any]) -> str:
    from mmtvr.apis.evaluation import evaluate_fine_grained
    from mmtvr.evaluation.fine_grained import to_text

    file, out = options.pop('file'), options.pop('out')
    options.pop('ties')
    given = [name for name, value in options.items() if value]
    if given:
        raise SetupError(
            f'--{given[0]} has no use with --fine-grained, which only takes '
            'the scores and --out'
        )
    return to_text(evaluate_fine_grained(file, captions, out=out))
