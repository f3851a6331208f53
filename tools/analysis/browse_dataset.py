"""Draw samples of a dataset, as the model sees them, into one picture.

``python tools/analysis/browse_dataset.py CONFIG`` writes ``browse.png``: a row
per sample, its frames behind the whole pipeline from left to right, and under
them the captions.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from mmengine.config import DictAction
from mmengine.registry import DATASETS
from PIL import Image, ImageDraw
from torch import Tensor

from mmtvr.cli.command import run_command
from mmtvr.config import load_config
from mmtvr.errors import SetupError

LINE = 14
MARGIN = 6


def draw_sample(
    frames: Tensor, captions: list[str], frame_width: int
) -> Image.Image:
    """Draw the frames of a sample with its captions below.

    Args:
        frames: Shape (T, 3, H, W), uint8, RGB.
        captions: Lines to write.
        frame_width: Width of a frame in the picture, in pixels.

    Returns:
        A picture of T frames side by side.
    """
    strip = np.concatenate(list(frames.numpy().transpose(0, 2, 3, 1)), axis=1)
    width = frame_width * len(frames)
    height = round(strip.shape[0] * width / strip.shape[1])
    text_height = LINE * len(captions) + MARGIN
    picture = Image.new('RGB', (width, height + text_height), 'white')
    resized = Image.fromarray(strip).resize((width, height), Image.NEAREST)
    picture.paste(resized, (0, 0))
    text = '\n'.join(captions)
    ImageDraw.Draw(picture).text((MARGIN, height + 1), text, fill='black')
    return picture


def stack_rows(rows: list[Image.Image]) -> Image.Image:
    """Put pictures below one another.

    Args:
        rows: At least one picture.

    Returns:
        One picture as wide as the widest row.
    """
    size = max(row.width for row in rows), sum(row.height for row in rows)
    grid = Image.new('RGB', size, 'white')
    top = 0
    for row in rows:
        grid.paste(row, (0, top))
        top += row.height
    return grid


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--out', type=Path, default=Path('browse.png'))
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train'
    )
    parser.add_argument('--samples', type=int, default=8)
    parser.add_argument('--first', type=int, default=0, help='first sample')
    parser.add_argument('--frame-width', type=int, default=112)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def main() -> None:
    """Write the picture that the command line asks for.

    Raises:
        SetupError: If the samples have no frames, or there are none.
    """
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options)
    dataset = DATASETS.build(cfg[f'{args.split}_dataloader'].dataset)
    last = min(args.first + args.samples, len(dataset))
    rows = []
    for number in range(args.first, last):
        sample = dataset[number]
        if 'frames' not in sample['inputs']:
            raise SetupError('the pipeline of the config loads no frames')
        captions = sample['data_samples'].metainfo.get('text', [])
        frames = sample['inputs']['frames']
        rows.append(draw_sample(frames, captions, args.frame_width))
    if not rows:
        raise SetupError(
            f'there is no sample {args.first}: the {args.split} set has '
            f'{len(dataset)}'
        )
    stack_rows(rows).save(args.out)
    print(f'samples {args.first} to {last - 1} are drawn in {args.out}')


if __name__ == '__main__':
    sys.exit(run_command(main))
