"""Time and memory of scoring and ranking a large test set.

``python -m benchmarks.benchmark_evaluation --texts 5000 --videos 5000``
scores random features by ``DMAEHead`` in blocks, ranks them in both
directions, and gives the time as a multiple of the plain matrix products that
the scores need, in the same blocks, and the peak memory of the process.
"""

import argparse
import sys
import time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.engine.features import block_shape, score_in_blocks
from mmtvr.engine.hooks.logging import peak_host_megabytes
from mmtvr.evaluation.ranking import both_directions
from mmtvr.models import DMAEHead
from mmtvr.structures import TokenFeatures

CPU = torch.device('cpu')


def draw(rows: int, tokens: int, width: int) -> TokenFeatures:
    """Draw unit features without padding."""
    values = normalize(torch.randn(rows, tokens, width), dim=-1)
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    return TokenFeatures(values, mask, normalize(values.mean(1), dim=-1))


@torch.no_grad()
def time_products(
    text: TokenFeatures, video: TokenFeatures, megabytes: float
) -> float:
    """Time the cosines of all words and sentences with all frames, alone."""
    rows, columns = block_shape(
        text.mask.shape[1], len(video.mask), video.mask.shape[1], megabytes
    )
    start = time.perf_counter()
    for words, sentence in zip(
        text.tokens.split(rows), text.pooled.split(rows), strict=True
    ):
        left = torch.cat([words, sentence[:, None]], 1).flatten(0, 1)
        for frames in video.tokens.split(columns):
            left @ frames.flatten(0, 1).T
    return time.perf_counter() - start


@torch.no_grad()
def time_scoring(
    text: TokenFeatures, video: TokenFeatures, megabytes: float
) -> tuple[float, Tensor]:
    """Time the head over all pairs."""
    head = DMAEHead(text.tokens.shape[-1]).eval()
    start = time.perf_counter()
    blocks = score_in_blocks(head, text, video, megabytes, CPU)
    scores = torch.cat([rows for _, rows in blocks])
    return time.perf_counter() - start, scores


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--texts', type=int, default=5000)
    parser.add_argument('--videos', type=int, default=5000)
    parser.add_argument('--words', type=int, default=32)
    parser.add_argument('--frames', type=int, default=12)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--megabytes', type=float, default=512)
    args = parser.parse_args()
    torch.manual_seed(0)
    text = draw(args.texts, args.words, args.width)
    video = draw(args.videos, args.frames, args.width)
    products = time_products(text, video, args.megabytes)
    scoring, scores = time_scoring(text, video, args.megabytes)
    start = time.perf_counter()
    ids = torch.arange(args.videos)
    both_directions(scores, torch.arange(args.texts) % args.videos, ids)
    ranking = time.perf_counter() - start
    print(
        f'{args.texts} texts of {args.words} words, {args.videos} videos of '
        f'{args.frames} frames, width {args.width}, '
        f'{torch.get_num_threads()} threads\n'
        f'matrix products  {products:8.1f} s\n'
        f'scoring          {scoring:8.1f} s = {scoring / products:.2f} times\n'
        f'ranking          {ranking:8.1f} s\n'
        f'peak memory      {peak_host_megabytes():8.0f} MiB'
    )


if __name__ == '__main__':
    sys.exit(main())
