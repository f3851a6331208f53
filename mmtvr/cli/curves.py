"""Plot training curves of one or several runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

EPILOG = """
A panel each shows the losses, the recall in both directions, the logit scale,
the hard negatives per row and the share of active margins of TPM-CL, as far as
the runs logged them. The parts of a resumed run are joined.

examples:
  mmtvr curves work_dirs/tpmcl_moving_shapes
  mmtvr curves work_dirs/a work_dirs/b --names DMAE TPM-CL --out curves.svg
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        'mmtvr curves',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument(
        '--out',
        type=Path,
        action='append',
        help='.png, .svg or .pdf; may be given several times (default: '
        'curves.png)',
    )
    parser.add_argument(
        '--names', nargs='+', help='names of the runs, in their order'
    )
    args = parser.parse_args(argv)
    if args.names and len(args.names) != len(args.work_dirs):
        parser.error('--names needs one name per WORK_DIR')
    return args


def curves(args: argparse.Namespace) -> None:
    """Write the plot, and print what it lacks.

    Raises:
        SetupError: A folder has no log of a training.
    """
    from mmtvr.visualization.curves import draw_curves, name_runs, read_run
    from mmtvr.visualization.figures import save_figure

    names = args.names or name_runs(args.work_dirs)
    runs = [
        read_run(folder, name)
        for folder, name in zip(args.work_dirs, names, strict=True)
    ]
    figure, missing = draw_curves(runs)
    for line in (*missing, *(note for run in runs for note in run.notes)):
        print(line)
    for out in args.out or [Path('curves.png')]:
        save_figure(figure, out)
        print(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    from mmtvr.cli.command import run_command

    return run_command(lambda: curves(args), 'nothing was written')
