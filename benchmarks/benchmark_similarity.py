"""What token-wise similarity costs beside its plain matrix products.

``python -m benchmarks.benchmark_similarity`` times forward and backward of
``DMAEHead`` with both levels, visual attention, masks and key words, in turn
with the matrix products alone that both levels need: the cosines of all words
and sentences with all frames, and the two gradients of each. Memory is that
on top of inputs and results.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.measuring import peak_megabytes, ratio, report, time_in_turn
from mmtvr.models import DMAEHead
from mmtvr.structures import TokenFeatures


def draw(
    rows: int, tokens: int, width: int, device: str, padded: bool
) -> TokenFeatures:
    """Draw unit features."""
    values = torch.empty(rows, tokens, width, device=device).normal_()
    values.div_(values.norm(dim=-1, keepdim=True))
    pooled = normalize(values[:, :1].mean(1), dim=-1)
    length = torch.full((rows, 1), tokens, device=device)
    weight = None
    if padded:
        length.random_(max(1, tokens // 4), tokens + 1)
        weight = torch.where(torch.rand(rows, tokens) < 1 / 3, 2.0, 1.0)
        weight = weight.to(device)
    mask = torch.arange(tokens, device=device) < length
    return TokenFeatures(
        values.requires_grad_(), mask, pooled.requires_grad_(), weight
    )


def prepare_head(
    batch: int,
    words: int,
    frames: int,
    width: int,
    megabytes: float,
    device: str,
) -> Callable[[], object]:
    """Make inputs and the task to compare them, with gradients."""
    text = draw(batch, words, width, device, padded=True)
    video = draw(batch, frames, width, device, padded=False)
    head = DMAEHead(width, block_bytes=int(megabytes * 2**20))
    slope = torch.randn(batch, batch, device=device)
    leaves = text.tokens, text.pooled, video.tokens

    def run() -> tuple[Tensor, ...]:
        return torch.autograd.grad(head(text, video), leaves, slope)

    return run


def prepare_products(
    batch: int, words: int, frames: int, width: int, device: str
) -> Callable[[], object]:
    """Make inputs and the task to multiply them, and nothing else."""
    right = torch.randn(batch * frames, width, device=device)
    sides = [
        (
            torch.randn(batch * tokens, width, device=device),
            torch.randn(batch * tokens, batch * frames, device=device),
        )
        for tokens in (words, 1)
    ]

    def run() -> None:
        for left, slope in sides:
            torch.mm(left, right.mT, out=slope)
            slope @ right
            slope.mT @ left

    return run


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--batch', type=int, nargs='+', default=[128, 256, 512]
    )
    parser.add_argument('--memory-only', type=int, nargs='*', default=[1024])
    parser.add_argument('--words', type=int, default=32)
    parser.add_argument('--frames', type=int, default=12)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--megabytes', type=float, default=16)
    parser.add_argument('--repeats', type=int, default=9)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    for batch in (*args.batch, *args.memory_only):
        sizes = batch, args.words, args.frames, args.width
        head = partial(prepare_head, *sizes, args.megabytes, args.device)
        row: dict[str, object] = dict(B=batch)
        if batch in args.batch:
            products = prepare_products(*sizes, args.device)
            seconds = time_in_turn(
                {'products': products, 'head': head()}, args.repeats
            )
            row['products, s'] = median(seconds['products'])
            row['head, s'] = median(seconds['head'])
            row['ratio'] = ratio(seconds['head'], seconds['products'])
        else:
            row.update({'products, s': '', 'head, s': '', 'ratio': ''})
        results = (
            4 * batch * (batch + args.width * (args.words + args.frames + 1))
        )
        peak = peak_megabytes(head.func, *head.args)
        row['memory, MiB'] = peak - results / 2**20
        row['all cosines, MiB'] = (
            4 * args.words * args.frames * batch**2 / 2**20
        )
        rows.append(row)
    report(
        f'DMAEHead, {args.words} words, {args.frames} frames, width '
        f'{args.width}, blocks of {args.megabytes:g} MiB',
        rows,
        args.device,
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
