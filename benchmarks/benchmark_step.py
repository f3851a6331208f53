"""A whole training step, and what each way to speed it up brings.

``python -m benchmarks.benchmark_step --device cuda`` takes training steps
of the recipe ``tpmcl`` (encoders, head, losses, clipping, AdamW) on random
frames and words with a randomly initialised CLIP, one variant after the other.
Model FLOP utilisation counts the towers as ``plan_training.py`` does, against
``--tflops``, the peak of the device in the type of the variant.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from mmengine.registry import init_default_scope
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from benchmarks.measuring import peak_megabytes, report, time_in_turn
from benchmarks.plan_training import IMAGE, TEXT, Tower
from benchmarks.synthetic import draw_batch
from mmtvr.registry import MODELS

VARIANTS = ('float32', 'bfloat16', 'bfloat16, fused', 'bfloat16, compiled')


def save_clip(folder: str, tiny: bool) -> None:
    """Write a CLIP with random weights."""
    small = dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=64,
    )
    config = CLIPConfig()
    if tiny:
        config = CLIPConfig(
            text_config=small,
            vision_config=dict(small, image_size=64, patch_size=32),
            projection_dim=64,
        )
    CLIPModel(config).save_pretrained(folder)


def build(clip: str, words: int, frames: int) -> torch.nn.Module:
    """Build the model of the recipe without a temporal encoder."""
    init_default_scope('mmtvr')
    text = MODELS.build(dict(type='mmtvr.CLIPTextEncoder', clip=clip))
    width = text.embed_dims
    return MODELS.build(
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=text,
            frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
            head=dict(type='mmtvr.DMAEHead', embed_dims=width),
            contrastive_loss=dict(type='mmtvr.NegNCELoss'),
            partial_loss=dict(
                type='mmtvr.TPMCLLoss',
                embed_dims=width,
                max_words=words,
                max_frames=frames,
            ),
        )
    )


def prepare(
    variant: str,
    clip: str,
    batch: int,
    words: int,
    frames: int,
    device: str,
) -> Callable[[], object]:
    """Make a model, a batch and the task to take a step."""
    logging.set_verbosity_error()
    torch.manual_seed(0)
    model = build(clip, words, frames).to(device).train()
    size = model.frame_encoder.clip.config.image_size
    if 'compiled' in variant:
        model.frame_encoder.compile()
    fused = 'fused' in variant or 'compiled' in variant
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=fused)
    inputs = draw_batch(40000, batch, words, frames, size, device)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(
            torch.device(device).type,
            dtype=torch.bfloat16,
            enabled=variant != 'float32',
        ):
            total, _ = model.parse_losses(model(inputs, mode='loss'))
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--variants', nargs='+', default=VARIANTS)
    parser.add_argument('--batch', type=int, default=128)
    parser.add_argument('--words', type=int, default=32)
    parser.add_argument('--frames', type=int, default=12)
    parser.add_argument(
        '--tiny', action='store_true', help='a few layers, to try the script'
    )
    parser.add_argument(
        '--tflops', type=float, default=989, help='peak of the device'
    )
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


def main() -> None:
    """Print and write the table."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as clip:
        save_clip(clip, args.tiny)
        sizes = clip, args.batch, args.words, args.frames, args.device
        image = Tower(2, 64, 5) if args.tiny else IMAGE['ViT-B/32']
        text = Tower(2, 64) if args.tiny else TEXT
        operations = (
            args.batch
            * 3
            * (
                args.frames * image.operations(image.tokens)
                + text.operations(args.words)
            )
        )
        seconds, peaks = {}, {}
        for variant in args.variants:
            task = prepare(variant, *sizes)
            timed = time_in_turn({variant: task}, args.repeats)
            seconds[variant] = median(timed[variant])
            del task
            peaks[variant] = peak_megabytes(prepare, variant, *sizes)
    first = seconds[args.variants[0]]
    rows = [
        {
            'variant': variant,
            'step, s': step,
            'samples per second': args.batch / step,
            'times as fast': first / step,
            'memory on top of model and inputs, MiB': peaks[variant],
            'model FLOP utilisation': operations / step / args.tflops / 1e12,
        }
        for variant, step in seconds.items()
    ]
    report(
        f'One training step, batch {args.batch}, {args.frames} frames',
        rows,
        args.device,
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
