"""Memory and time of a large batch that is encoded in chunks.

``python -m benchmarks.benchmark_large_batch`` takes one training step of
the model of a config, on random frames and words: a batch of the size of a
chunk, a large one with ``cached_contrastive``, and a large one in one pass.

``--vit --bfloat16 --repeats 0 --skip-one-pass`` does so with the MSR-VTT
recipe on a ViT-B/32 with random weights, where the large step takes long
without a GPU: once, for its memory. ``--gradient-chunks 3`` ends that step
when three chunks of videos have got their gradients; the others would do the
same again.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from benchmarks.benchmark_step import save_clip
from benchmarks.measuring import peak_megabytes, report, time_in_turn
from benchmarks.synthetic import draw_batch
from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
VIT_CONFIG = """_base_ = {base!r}
clip = {clip!r}
model = dict(
    text_encoder=dict(clip=clip),
    frame_encoder=dict(clip=clip),
    temporal=dict(clip=clip))
"""


def write_vit_config(folder: str) -> str:
    """Write the MSR-VTT recipe with a ViT-B/32 of random weights."""
    save_clip(folder, tiny=False)
    config = Path(folder, 'vit.py')
    base = str(ROOT / 'configs/tpmcl_msrvtt.py')
    config.write_text(
        VIT_CONFIG.format(base=base, clip=folder), encoding='utf-8'
    )
    return str(config)


class StepEnded(Exception):  # noqa: N818 - no error, as StopIteration
    """As many chunks as asked for have got their gradients."""


def end_after(module: nn.Module, calls: int) -> None:
    """Let a module raise ``StepEnded`` when it is called once more."""
    count = itertools.count(1)

    def stop(*args: object) -> None:
        if next(count) > calls:
            raise StepEnded

    module.register_forward_pre_hook(stop)


def prepare(
    config: str,
    batch: int,
    chunk: int,
    words: int,
    frames: int,
    size: int,
    bfloat16: bool,
    gradient_chunks: int,
    device: str,
) -> Callable[[], object]:
    """Make a model, a batch and the task to compute gradients."""
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    parts = Config.fromfile(config).model
    parts['cached_contrastive'] = dict(chunk=chunk) if chunk else None
    model = MODELS.build(parts).to(device).train()
    if chunk and gradient_chunks:
        chunks = -(-batch // chunk)
        end_after(model.frame_encoder, chunks + gradient_chunks)
    inputs = draw_batch(20, batch, words, frames, size, device)

    def run() -> None:
        model.zero_grad()
        with suppress(StepEnded):
            with torch.autocast(
                torch.device(device).type, torch.bfloat16, enabled=bfloat16
            ):
                total, _ = model.parse_losses(model(inputs, mode='loss'))
            total.backward()

    return run


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/tpmcl_moving_shapes.py')
    parser.add_argument(
        '--vit',
        action='store_true',
        help='MSR-VTT recipe, ViT-B/32, 32 words, 12 frames of 224 x 224',
    )
    parser.add_argument('--bfloat16', action='store_true')
    parser.add_argument('--batch', type=int, default=1024)
    parser.add_argument('--chunk', type=int, default=32)
    parser.add_argument('--words', type=int, default=24)
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--size', type=int, default=54)
    parser.add_argument('--skip-one-pass', action='store_true')
    parser.add_argument('--gradient-chunks', type=int, default=0)
    parser.add_argument(
        '--repeats', type=int, default=3, help='timed steps, 0 for memory only'
    )
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    kinds = [(args.chunk, 0), (args.batch, args.chunk), (args.batch, 0)]
    if args.skip_one_pass:
        kinds.pop()
    with ExitStack() as stack:
        if args.vit:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            args.config = write_vit_config(folder)
            args.words, args.frames, args.size = 32, 12, 224
        rows = [measure(args, *kind) for kind in kinds]
    report(f'One step of {args.config}', rows, args.device, args.out)


def measure(
    args: argparse.Namespace, batch: int, chunk: int
) -> dict[str, object]:
    """Measure one step."""
    sizes = args.words, args.frames, args.size
    how = args.bfloat16, args.gradient_chunks, args.device
    arguments = args.config, batch, chunk, *sizes, *how
    seconds = []
    if args.repeats:
        task = {'step': prepare(*arguments)}
        seconds = time_in_turn(task, args.repeats)['step']
        task.clear()
    return {
        'batch': batch,
        'chunk': chunk or 'one pass',
        'memory on top of the inputs, MiB': peak_megabytes(
            prepare, *arguments
        ),
        'step, s': median(seconds) if seconds else '',
        'frames as uint8, MiB': (
            batch * args.frames * 3 * args.size**2 / 2**20
        ),
    }


if __name__ == '__main__':
    sys.exit(main())
