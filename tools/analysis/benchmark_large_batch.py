"""Memory and time of a large batch that is encoded in chunks.

``python tools/analysis/benchmark_large_batch.py`` takes one training step of
the model of a config, on random frames and words: a batch of the size of a
chunk, a large one with ``cached_contrastive``, and a large one in one pass.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measuring import peak_megabytes, report, time_in_turn
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.registry import MODELS


def prepare(
    config: str,
    batch: int,
    chunk: int,
    words: int,
    frames: int,
    size: int,
    device: str,
) -> Callable[[], object]:
    """Make a model, a batch and the task to compute gradients.

    Args:
        config: Path of a config.
        batch: Pairs.
        chunk: Rows that are encoded at a time, 0 for one pass.
        words: Word pieces of a caption.
        frames: Frames of a video.
        size: Height and width of a frame.
        device: Where to run.

    Returns:
        The task.
    """
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    parts = Config.fromfile(config).model
    parts['cached_contrastive'] = dict(chunk=chunk) if chunk else None
    model = MODELS.build(parts).to(device).train()
    rows = torch.arange(batch, device=device)
    shape = (batch, frames, 3, size, size)
    inputs = dict(
        tokens=torch.randint(1, 20, (batch, words), device=device),
        token_mask=torch.ones(batch, words, device=device).bool(),
        frames=torch.randint(256, shape, dtype=torch.uint8, device=device),
        frame_mask=torch.ones(batch, frames, device=device).bool(),
        video_of_text=rows,
        video_ids=rows,
    )

    def run() -> None:
        model.zero_grad()
        total, _ = model.parse_losses(model(inputs, mode='loss'))
        total.backward()

    return run


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/tpmcl_moving_shapes.py')
    parser.add_argument('--batch', type=int, default=1024)
    parser.add_argument('--chunk', type=int, default=32)
    parser.add_argument('--words', type=int, default=24)
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--size', type=int, default=54)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    sizes = args.words, args.frames, args.size, args.device
    rows = []
    for batch, chunk in (
        (args.chunk, 0),
        (args.batch, args.chunk),
        (args.batch, 0),
    ):
        task = prepare(args.config, batch, chunk, *sizes)
        seconds = time_in_turn({'step': task}, args.repeats)['step']
        del task
        rows.append(
            {
                'batch': batch,
                'chunk': chunk or 'one pass',
                'memory on top of the inputs, MiB': peak_megabytes(
                    prepare, args.config, batch, chunk, *sizes
                ),
                'step, s': median(seconds),
                'frames as uint8, MiB': batch
                * args.frames
                * 3
                * args.size**2
                / 2**20,
            }
        )
    report(f'One step of {args.config}', rows, args.device, args.out)


if __name__ == '__main__':
    sys.exit(main())
