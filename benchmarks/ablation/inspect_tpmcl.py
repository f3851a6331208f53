"""What the partial captions and videos of TPM-CL lack.

``python -m benchmarks.ablation.inspect_tpmcl CONFIG CHECKPOINT`` takes the
first caption of each validation video and reports how much is removed, whether
the removed words are key words and the removed frames those that the caption
likes best, which words go most often, and how far apart full and partial
versions are.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import load_checkpoint
from torch import Tensor
from transformers import AutoTokenizer

from mmtvr.checkpoints import guard_loading
from mmtvr.cli.command import TRUST_HELP, run_command
from mmtvr.config import load_config
from mmtvr.errors import SetupError
from mmtvr.models.partial_order.tpmcl_loss import (
    Selection,
    TPMCLLoss,
    triplet_similarities,
)
from mmtvr.pretrained import load_pretrained
from mmtvr.structures import TokenFeatures

BATCH = 50
SHOWN = 12


class Pairs(NamedTuple):
    """Matched pairs of one batch.

    Attributes:
        tokens: Shape (B, L), int64, word pieces.
        text: Features of B captions.
        video: Features of B videos.
    """

    tokens: Tensor
    text: TokenFeatures
    video: TokenFeatures


def load_pairs(cfg: Config, model: torch.nn.Module) -> Iterator[Pairs]:
    """Encode the first caption of each validation video, and the video."""
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    for start in range(0, len(dataset), BATCH):
        indices = range(start, min(start + BATCH, len(dataset)))
        samples = [dataset[index] for index in indices]
        for sample in samples:
            for key in ('tokens', 'token_mask', 'token_weight', 'cut_pieces'):
                if key in sample['inputs']:
                    sample['inputs'][key] = sample['inputs'][key][:1]
        batch = model.data_preprocessor(pseudo_collate(samples), False)
        text, video = model(**batch, mode='tensor')
        yield Pairs(batch['inputs']['tokens'], text, video)


class Inspection:
    """Sums over batches of pairs.

    Args:
        loss: The loss whose partial versions are inspected.
    """

    def __init__(self, loss: TPMCLLoss) -> None:
        self.loss = loss
        self.sums: Counter[str] = Counter()
        self.seen: Counter[int] = Counter()
        self.removed: Counter[int] = Counter()

    def add(self, pairs: Pairs) -> None:
        """Look at one batch."""
        self.sums['pairs'] += len(pairs.tokens)
        selections = self.loss.select(pairs.text, pairs.video)
        if 'words' in selections:
            self._add_words(pairs, selections['words'])
        if 'frames' in selections:
            self._add_frames(pairs, selections['frames'])
        parts = self.loss.partial_pairs(pairs.text, pairs.video)
        for name in self.loss.triplets:
            full, partial = triplet_similarities(name, parts)
            gap = full - partial
            self.sums[f'gap {name}'] += gap.sum().item()
            self.sums[f'active {name}'] += (
                (gap < self.loss.margin).sum().item()
            )

    def _count(self, side: str, chosen: Selection, mask: Tensor) -> Tensor:
        gone = mask & ~chosen.keep
        self.sums[f'{side} real'] += mask.sum().item()
        self.sums[f'{side} gone'] += gone.sum().item()
        self.sums[f'{side} whole'] += (~gone.any(1)).sum().item()
        largest = chosen.importance.max(1).values
        self.sums[f'{side} top'] += largest.sum().item()
        return gone

    def _add_words(self, pairs: Pairs, chosen: Selection) -> None:
        text = pairs.text
        gone = self._count('words', chosen, text.mask)
        if text.weight is not None:
            key = text.weight > 1
            self.sums['key words'] += key.sum().item()
            self.sums['key words gone'] += (key & gone).sum().item()
        self.seen.update(pairs.tokens[text.mask].tolist())
        self.removed.update(pairs.tokens[gone].tolist())

    def _add_frames(self, pairs: Pairs, chosen: Selection) -> None:
        sentence, video = pairs.text.pooled, pairs.video
        gone = self._count('frames', chosen, video.mask)
        cosine = torch.einsum('bd,btd->bt', sentence, video.tokens)
        best = cosine.masked_fill(~video.mask, -torch.inf).argmax(1)
        best_gone = gone.gather(1, best[:, None])
        self.sums['best frame gone'] += best_gone.sum().item()


def print_report(inspection: Inspection, names: dict[int, str]) -> None:
    """Print what was found."""
    sums = inspection.sums
    pairs = sums['pairs']
    print(f'{pairs} pairs')
    for side in ('words', 'frames'):
        if sums[f'{side} real']:
            share = sums[f'{side} gone'] / sums[f'{side} real']
            whole = sums[f'{side} whole'] / pairs
            top = sums[f'{side} top'] / pairs
            print(
                f'{side}: {share:.1%} removed; nothing removed in {whole:.1%} '
                f'of the pairs; largest importance {top:.2f} on average'
            )
    if sums['key words']:
        of_all = sums['key words'] / sums['words real']
        of_gone = sums['key words gone'] / max(1, sums['words gone'])
        print(f'key words: {of_all:.1%} of all, {of_gone:.1%} of the removed')
    if sums['frames real']:
        chance = sums['frames gone'] / sums['frames real']
        print(
            'the best frame of the sentence is removed in '
            f'{sums["best frame gone"] / pairs:.1%} of the pairs, by chance '
            f'{chance:.1%}'
        )
    for name in inspection.loss.triplets:
        print(
            f'{name}: full - partial {sums[f"gap {name}"] / pairs:.3f} on '
            f'average, {sums[f"active {name}"] / pairs:.1%} within the margin '
            f'of {inspection.loss.margin}'
        )
    shares = {
        names[index]: count / inspection.seen[index]
        for index, count in inspection.removed.most_common(SHOWN)
    }
    listed = ', '.join(f'{name} {share:.0%}' for name, share in shares.items())
    print(f'words removed most often, of their occurrences: {listed}')


def main() -> None:
    """Inspect as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE'
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    args = parser.parse_args()
    guard_loading(args.trust_checkpoint)
    cfg = load_config(args.config, args.cfg_options)
    model = MODELS.build(cfg.model)
    if not isinstance(model.partial_loss, TPMCLLoss):
        raise SetupError(
            f'{args.config} has no partial_loss=dict(type="mmtvr.TPMCLLoss")'
        )
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    model.eval()
    inspection = Inspection(model.partial_loss)
    with torch.no_grad():
        for pairs in load_pairs(cfg, model):
            inspection.add(pairs)
    encoder = cfg.model.text_encoder
    tokenizer = load_pretrained(
        AutoTokenizer, encoder.get('encoder') or encoder.clip
    )
    names = {index: piece for piece, index in tokenizer.get_vocab().items()}
    print_report(inspection, names)


if __name__ == '__main__':
    sys.exit(run_command(main))
