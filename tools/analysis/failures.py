"""Show where a model fails, as one HTML page.

``python tools/analysis/failures.py CONFIG CHECKPOINT --out failures.html``
takes the queries of the test set whose video ranks worst, and as many random
ones, and shows for each the five best videos as strips of frames, the true
one, which words carried the score, which frames TPM-CL would remove, and
whether NegNCE would count the winner as a hard negative. The page holds its
pictures and needs no network.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from failures_page import Answer, Failure, Frame, Word, write_page
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import load_checkpoint
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from mmtvr.checkpoints import TRUST_HELP, guard_loading
from mmtvr.cli.command import run_command
from mmtvr.config import load_config
from mmtvr.engine.features import FeatureStore, score_in_blocks
from mmtvr.evaluation.ranking import ranks, text_to_video
from mmtvr.explanation import find_piece_names
from mmtvr.losses.neg_nce import hard_negatives
from mmtvr.structures import TokenFeatures, concatenate

BATCH = 16
MEGABYTES = 256
SHOWN = 5


class Encoded(NamedTuple):
    """A test set with everything that the page asks for.

    Attributes:
        dataset: The test set, a sample per video.
        texts: B captions as strings.
        text: Features of B captions.
        video: Features of V videos.
        owner: Shape (B,), column of each caption's video.
        scores: Shape (B, V).
        ranks: Shape (B,), rank of the true video, from 1.
        hard: Shape (B, V), bool, hard negatives of NegNCE.
    """

    dataset: Dataset
    texts: list[str]
    text: TokenFeatures
    video: TokenFeatures
    owner: Tensor
    scores: Tensor
    ranks: Tensor
    hard: Tensor


@torch.no_grad()
def encode(model: nn.Module, dataset: Dataset) -> Encoded:
    """Encode a test set and compare all with all.

    Args:
        model: The retriever, in evaluation mode.
        dataset: The test set.

    Returns:
        What the page is made of.
    """
    store = FeatureStore()
    for samples in tqdm(list(_batches(dataset)), desc='encoding'):
        batch = model.data_preprocessor(pseudo_collate(samples), False)
        store.add(model(**batch, mode='predict'))
    gallery, _ = store.gather()
    text = concatenate([batch.features for batch in store.text_batches])
    device = next(model.parameters()).device
    rows = score_in_blocks(
        model.similarity, text, gallery.features, MEGABYTES, device
    )
    scores = torch.cat([block for _, block in rows])
    ids = torch.cat([batch.video_ids for batch in store.text_batches])
    match = ids[:, None] == gallery.video_ids
    return Encoded(
        dataset,
        [caption for batch in store.text_batches for caption in batch.texts],
        text,
        gallery.features,
        match.int().argmax(1),
        scores,
        ranks(text_to_video(scores, ids, gallery.video_ids)),
        hard_negatives(scores, match),
    )


def _batches(dataset: Dataset) -> Iterator[list[dict]]:
    for start in range(0, len(dataset), BATCH):
        stop = min(start + BATCH, len(dataset))
        yield [dataset[index] for index in range(start, stop)]


def choose(found: Encoded, count: int, seed: int) -> list[int]:
    """Choose queries: those whose video ranks worst, then random ones.

    Args:
        found: The encoded test set.
        count: How many of each kind.
        seed: Seed of the random ones.

    Returns:
        Rows of texts, each once.
    """
    worst = found.ranks.argsort(descending=True, stable=True)[:count].tolist()
    others = sorted(set(range(len(found.texts))) - set(worst))
    return worst + random.Random(seed).sample(others, min(count, len(others)))


class Explainer:
    """From rows of texts to what the page shows of them.

    Args:
        found: The encoded test set.
        model: The retriever.
    """

    def __init__(self, found: Encoded, model: nn.Module) -> None:
        self.found = found
        self.model = model
        self.device = next(model.parameters()).device
        self.name_pieces = find_piece_names(found.dataset.pipeline)

    def explain(self, row: int) -> Failure:
        """Collect what is shown of one query.

        Args:
            row: Row of the text.

        Returns:
            Its best videos, and the true one behind them if it is not among
            them.
        """
        found = self.found
        owner = int(found.owner[row])
        count = min(SHOWN, found.scores.shape[1])
        best = found.scores[row].topk(count).indices.tolist()
        columns = best if owner in best else [*best, owner]
        return Failure(
            caption=found.texts[row],
            rank=float(found.ranks[row]),
            videos=found.scores.shape[1],
            winner_is_hard=bool(found.hard[row, best[0]]),
            answers=[self._answer(row, column, owner) for column in columns],
        )

    def _answer(self, row: int, column: int, owner: int) -> Answer:
        found = self.found
        sample = found.dataset[column]
        why = self.model.explain(
            found.text.select(torch.tensor([row])).to(self.device),
            found.video.select(torch.tensor([column])).to(self.device),
            self.name_pieces(found.texts[row]),
        )
        removed = [False] * why.cosines.shape[1]
        if why.frame_masking is not None:
            removed = why.frame_masking.removed.tolist()
        frames = sample['inputs']['frames'][: len(removed)]
        return Answer(
            name=Path(sample['data_samples'].get('filename', '')).name,
            score=float(found.scores[row, column]),
            place=int((found.scores[row] > found.scores[row, column]).sum())
            + 1,
            is_true=column == owner,
            frames=[
                Frame(picture.numpy().transpose(1, 2, 0), gone)
                for picture, gone in zip(frames, removed, strict=True)
            ],
            words=[
                Word(name, float(share), cosines.tolist())
                for name, share, cosines in zip(
                    why.words, why.shares, why.cosines, strict=True
                )
            ],
        )


@torch.no_grad()
def explain_all(
    cfg: Config, model: nn.Module, count: int, seed: int
) -> Sequence[Failure]:
    """Encode the test set of a config and explain chosen queries.

    Args:
        cfg: The whole config.
        model: The retriever with its weights.
        count: How many of the worst and how many random queries.
        seed: Seed of the random ones.

    Returns:
        The chosen queries.
    """
    found = encode(model, DATASETS.build(cfg.test_dataloader.dataset))
    explainer = Explainer(found, model)
    return [explainer.explain(row) for row in choose(found, count, seed)]


def main() -> None:
    """Write the page as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', type=Path, default=Path('failures.html'))
    parser.add_argument(
        '--count',
        type=int,
        default=10,
        help='of the worst, and of random ones',
    )
    parser.add_argument('--seed', type=int, default=0)
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
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    if torch.cuda.is_available():
        model = model.cuda()
    failures = explain_all(cfg, model.eval(), args.count, args.seed)
    write_page(args.out, failures, f'{args.config}, {args.checkpoint}')
    print(f'{args.out}: {len(failures)} queries')


if __name__ == '__main__':
    sys.exit(run_command(main))
