"""What the partial-order losses cost in a training step.

``python -m benchmarks.benchmark_partial_order`` times training steps of one
model without such a loss, with TPM-CL and with forms of PartialOrderLoss, in
turn, on the towers of moving shapes. There the text tower takes a large share
of a step; with CLIP ViT-B/32 it is 2.3 % of the operations at 32 words and 12
frames, by the formulas of ``plan_training``.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from mmengine.registry import init_default_scope

from benchmarks.measuring import ratio, report, time_in_turn
from benchmarks.synthetic import draw_batch
from mmtvr.registry import MODELS

CLIP = 'mmtvr://moving-shapes-clip'
WIDTH = 96


def losses_of(width: int, words: int, frames: int) -> dict[str, dict | None]:
    """The ``partial_loss`` of each variant."""
    random = dict(type='mmtvr.RandomMasker')
    learned = dict(type='mmtvr.ImportanceMasker', embed_dims=width)
    order = dict(type='mmtvr.PartialOrderLoss')
    return {
        'none': None,
        'TPM-CL': dict(
            type='mmtvr.TPMCLLoss',
            embed_dims=width,
            max_words=words,
            max_frames=frames,
        ),
        'words, random': dict(order, text_masker=random),
        'words, random, half of the batch': dict(
            order, text_masker=random, share=0.5
        ),
        'words, learned importance': dict(order, text_masker=learned),
        'frames, random': dict(order, video_masker=random),
        'words and frames, learned': dict(
            order, text_masker=learned, video_masker=learned
        ),
    }


def build_model() -> torch.nn.Module:
    """Build a retriever with word-level interaction and a temporal encoder."""
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=CLIP),
            frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=CLIP),
            temporal=dict(
                type='mmtvr.FrameTransformer', embed_dims=WIDTH, num_layers=2
            ),
            head=dict(type='mmtvr.TokenWiseHead', embed_dims=WIDTH),
            contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
        )
    ).train()


def prepare(
    model: torch.nn.Module, loss: dict | None, inputs: dict
) -> Callable[[], object]:
    """Make a loss, and the task to take a step of the model with it."""
    loss = None if loss is None else MODELS.build(loss).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    if loss is not None:
        parameters += [p for p in loss.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-6)

    def run() -> None:
        model.partial_loss = loss
        optimizer.zero_grad()
        total, _ = model.parse_losses(model(inputs, mode='loss'))
        total.backward()
        optimizer.step()

    return run


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch', type=int, default=64)
    parser.add_argument('--words', type=int, default=24)
    parser.add_argument('--frames', type=int, default=8)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    init_default_scope('mmtvr')
    model = build_model()
    size = model.frame_encoder.clip.config.image_size
    inputs = draw_batch(20, args.batch, args.words, args.frames, size, 'cpu')
    losses = losses_of(WIDTH, args.words, args.frames)
    tasks = {
        name: prepare(model, loss, inputs) for name, loss in losses.items()
    }
    seconds = time_in_turn(tasks, args.repeats)
    rows = [
        {
            'partial loss': name,
            'step, s': median(times),
            'of the plain step': ratio(times, seconds['none']),
        }
        for name, times in seconds.items()
    ]
    report(
        f'One training step, batch {args.batch}, {args.words} words, '
        f'{args.frames} frames',
        rows,
        'cpu',
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
