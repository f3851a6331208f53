"""What TPM-CL costs on matched pairs, and what it would on all pairs.

``python -m benchmarks.benchmark_tpmcl`` times forward and backward of
``TPMCLLoss``. The all-pairs form, plainly: every caption with every video
through the same predictors and triplets, of which the loss reads the diagonal.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import gelu, normalize

from benchmarks.benchmark_similarity import draw
from benchmarks.measuring import peak_megabytes, ratio, report, time_in_turn
from mmtvr.models import TPMCLLoss
from mmtvr.models.partial_order.importance import ImportancePredictor
from mmtvr.models.partial_order.tpmcl_loss import keep_less_important
from mmtvr.structures import TokenFeatures


def importance(
    predictor: ImportancePredictor, keys: Tensor, mask: Tensor, queries: Tensor
) -> Tensor:
    """Predict importance as it is defined, with the normalised block."""
    real = mask[..., None]
    mixed = torch.einsum('nm,bmd->bnd', predictor.mix.weight, queries)
    block = torch.cat([mixed, keys], 2) * real
    count = mask.sum(1)[:, None, None] * block.shape[2]
    centred = (block - block.sum((1, 2), True) / count) * real
    variance = centred.square().sum((1, 2), True) / count
    normal = centred / (variance + predictor.eps).sqrt()
    normal = normal * predictor.norm_weight + predictor.norm_bias
    rating = predictor.out(gelu(predictor.hidden(normal)))
    rating = rating.squeeze(-1).sigmoid() * mask
    return rating / rating.sum(1, keepdim=True)


def all_pairs_loss(
    loss: TPMCLLoss, text: TokenFeatures, video: TokenFeatures
) -> Tensor:
    """Compute the loss from similarities of all captions with all videos."""
    count = len(text.mask)
    rows = torch.arange(count, device=text.mask.device)
    text = text.select(rows.repeat_interleave(count))
    video = video.select(rows.repeat(count))
    words = text.tokens * text.mask[..., None]
    frames = video.tokens * video.mask[..., None]

    def similarity(vector: Tensor, frames: Tensor) -> Tensor:
        cosine = (vector[:, None] * frames).sum(-1)
        best = cosine.masked_fill(~video.mask, -torch.inf).amax(1)
        return (best + cosine.sum(1) / video.mask.sum(1)) / 2

    def partial_and_globals(
        tokens: Tensor, mask: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        keep = keep_less_important(weight, mask, loss.mass)
        weighted = weight[..., None] * tokens
        kept = weighted * keep[..., None]
        return (
            tokens * keep[..., None],
            normalize(weighted.sum(1), dim=1),
            normalize(kept.sum(1), dim=1),
        )

    sentence = text.pooled
    of_frames = importance(
        loss.frame_importance, frames, video.mask, sentence[:, None]
    )
    of_words = importance(loss.word_importance, words, text.mask, frames)
    partial, full_v, partial_v = partial_and_globals(
        frames, video.mask, of_frames
    )
    _, full_t, partial_t = partial_and_globals(words, text.mask, of_words)
    gaps = (
        similarity(sentence, frames) - similarity(sentence, partial),
        similarity(full_t, frames) - similarity(full_t, partial),
        similarity(full_t, frames) - similarity(partial_t, frames),
        (sentence * full_v).sum(1) - (sentence * partial_v).sum(1),
    )
    return sum(
        torch.relu(loss.margin - gap.view(count, count).diagonal()).mean()
        for gap in gaps
    )


def prepare(
    form: str, batch: int, words: int, frames: int, width: int, device: str
) -> Callable[[], object]:
    """Make inputs and the task to compute the loss with its gradients."""
    torch.manual_seed(0)
    text = draw(batch, words, width, device, padded=True)
    video = draw(batch, frames, width, device, padded=False)
    loss = TPMCLLoss(width, words, frames).to(device)
    leaves = [text.tokens, text.pooled, video.tokens, *loss.parameters()]

    def run() -> tuple[Tensor, ...]:
        if form == 'all':
            value = all_pairs_loss(loss, text, video)
        else:
            value = loss(text, video)
        return torch.autograd.grad(value, leaves)

    return run


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--batch', type=int, nargs='+', default=[128, 512, 2048, 4096]
    )
    parser.add_argument('--all-pairs', type=int, nargs='*', default=[128])
    parser.add_argument('--words', type=int, default=30)
    parser.add_argument('--frames', type=int, default=9)
    parser.add_argument('--width', type=int, default=512)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = []
    for batch in args.batch:
        sizes = batch, args.words, args.frames, args.width, args.device
        tasks = {'matched': prepare('matched', *sizes)}
        compared = batch in args.all_pairs
        if compared:
            tasks['all'] = prepare('all', *sizes)
        seconds = time_in_turn(tasks, args.repeats)
        tasks.clear()
        matched = median(seconds['matched'])
        peak = peak_megabytes(prepare, 'matched', *sizes)
        row = {
            'B': batch,
            'matched, s': matched,
            'ms per pair': 1e3 * matched / batch,
            'memory, MiB': peak,
            'all pairs, s': '',
            'times as long': '',
            'all pairs, MiB': '',
            'times as much': '',
        }
        if compared:
            all_peak = peak_megabytes(prepare, 'all', *sizes)
            row['all pairs, s'] = median(seconds['all'])
            row['times as long'] = ratio(seconds['all'], seconds['matched'])
            row['all pairs, MiB'] = all_peak
            row['times as much'] = all_peak / peak
        rows.append(row)
    report(
        f'TPMCLLoss, {args.words} words, {args.frames} frames, width '
        f'{args.width}, forward and backward',
        rows,
        args.device,
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
