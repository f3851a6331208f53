"""Plot why a text and a video have their score."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmtvr.cli.command import CHECKPOINT_HELP, choose_checkpoint

EPILOG = """
The plot shows the frames as the model sees them, the cosine of each word with
each frame, how much each word counts, the parts of the score, and, where the
config trains with TPM-CL, the importance that it predicts for words and frames
and which ones it would mask. With --index it also shows the videos of the
index that come closest to the score or beat it; an index knows its config and
checkpoint, which need not be given then.

examples:
  mmtvr explain VIDEO "a red circle rising" --index INDEX --out why.svg
  mmtvr explain VIDEO "a dog" --config CONFIG --checkpoint CHECKPOINT
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        'mmtvr explain',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('video', help='the video file')
    parser.add_argument('text', help='the text')
    parser.add_argument('--config', help='config of the model')
    parser.add_argument(
        '--checkpoint',
        help=f'{CHECKPOINT_HELP}; with --index: where that of the index is '
        'now, if it has moved',
    )
    parser.add_argument('--index', help='to find the hardest negatives in')
    parser.add_argument(
        '--negatives',
        type=int,
        default=3,
        help='number of hard negatives (default: 3)',
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1')
    parser.add_argument(
        '--out',
        type=Path,
        action='append',
        help='.png, .svg or .pdf; may be given several times (default: '
        'explanation.png)',
    )
    return parser.parse_args(argv)


def explain(args: argparse.Namespace) -> None:
    """Write the plot.

    Raises:
        SetupError: The video is missing or cannot be read, or neither a
            config nor an index is given.
    """
    from mmtvr.apis.explain import explain_score, find_hard_negatives
    from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
    from mmtvr.errors import SetupError
    from mmtvr.visualization.explanation import draw_explanation
    from mmtvr.visualization.figures import save_figure

    if not Path(args.video).is_file():
        raise SetupError(
            f'there is no video {args.video} (looked from {Path.cwd()})'
        )
    if args.config is not None:
        checkpoint = choose_checkpoint(
            args.config, args.checkpoint, required=False
        )
        searcher = TextVideoSearcher(args.config, checkpoint, args.device)
        if args.index:
            searcher.open(args.index)
    elif args.index is not None:
        searcher = open_searcher(args.index, args.checkpoint, args.device)
    else:
        raise SetupError(
            'give the model to explain: --config CONFIG --checkpoint '
            'CHECKPOINT, or --index INDEX, which knows its own'
        )
    found = explain_score(searcher, args.text, args.video)
    negatives = []
    if args.index:
        negatives = find_hard_negatives(
            searcher, args.text, args.video, args.negatives
        )
    figure = draw_explanation(*found, negatives)
    for out in args.out or [Path('explanation.png')]:
        save_figure(figure, out)
        print(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    # PyTorch takes seconds to import, which --help does not need.
    from mmtvr.cli.command import run_command

    return run_command(lambda: explain(args), 'nothing was written')
