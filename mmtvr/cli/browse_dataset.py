"""Plot samples of a dataset as the model sees them.

Each sample is a row of frames, after all transforms, above its captions.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmtvr.cli.command import run_command
from mmtvr.config import ConfigOptions

EXAMPLES = """
examples:
  mmtvr browse tpmcl_moving_shapes
  mmtvr browse CONFIG --split test --first 100 --samples 4 --out test.png
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        'mmtvr browse',
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('browse.png'),
        help='default: browse.png',
    )
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train'
    )
    parser.add_argument(
        '--samples', type=int, default=8, help='how many (default: 8)'
    )
    parser.add_argument(
        '--first', type=int, default=0, help='number of the first, from 0'
    )
    parser.add_argument(
        '--frame-width', type=int, default=112, help='in pixels (default: 112)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE'
    )
    return parser.parse_args(argv)


def browse(args: argparse.Namespace) -> None:
    """Write the plot.

    Raises:
        SetupError: The pipeline loads no frames, or there is no sample.
    """
    from mmengine.registry import DATASETS

    from mmtvr.config import load_config
    from mmtvr.errors import SetupError
    from mmtvr.visualization.browse import DPI, draw_samples
    from mmtvr.visualization.figures import save_figure

    cfg = load_config(args.config, args.cfg_options)
    dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
    numbers = range(args.first, min(args.first + args.samples, len(dataset)))
    if not numbers:
        raise SetupError(
            f'there is no sample {args.first}: the {args.split} set has '
            f'{len(dataset)}'
        )
    samples = []
    for number in numbers:
        sample = dataset[number]
        if 'frames' not in sample['inputs']:
            raise SetupError('the pipeline of the config loads no frames')
        captions = sample['data_samples'].metainfo.get('text', [])
        frames = sample['inputs']['frames'].numpy().transpose(0, 2, 3, 1)
        samples.append((frames, captions))
    save_figure(draw_samples(samples, args.frame_width), args.out, DPI)
    print(f'{args.out}: samples {numbers[0]} to {numbers[-1]}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    return run_command(lambda: browse(args), 'nothing was written')
