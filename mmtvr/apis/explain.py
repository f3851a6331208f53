"""What plots of scores and pages of failures show, computed by a model."""

import os
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor
from tqdm import tqdm

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.engine.features import FeatureStore, score_in_blocks
from mmtvr.evaluation.ranking import ranks, text_to_video
from mmtvr.explanation import (
    ExplainedSample,
    Scene,
    explain_sample,
    find_piece_names,
)
from mmtvr.losses.neg_nce import hard_negatives
from mmtvr.structures import concatenate
from mmtvr.visualization.failures import Failure, Frame, Result, Word

if TYPE_CHECKING:
    from mmtvr.datasets.text_video import TextVideoDataset
    from mmtvr.models.retriever import TextVideoRetriever

BATCH_SIZE = 16
MAX_MEGABYTES = 256
TOP_K = 5


def explain_score(
    searcher: TextVideoSearcher, text: str, video: str
) -> ExplainedSample:
    """Explain the score of a text and a video file.

    Unlike ``searcher.explain`` it reads the video, whose frames the plot
    shows, even if an index holds its features.

    Raises:
        SetupError: The video cannot be read.
    """
    pipelines = searcher.encoder.pipelines
    query = pipelines.text(dict(text=[text]))
    sample = pipelines.video(dict(filename=video))
    sample['data_samples'].set_metainfo(dict(text=[text]))
    sample['inputs'].update(query['inputs'])
    return explain_sample(
        searcher.encoder.model, sample, find_piece_names(pipelines.text)
    )


def find_hard_negatives(
    searcher: TextVideoSearcher, text: str, video: str, count: int
) -> list[Scene]:
    """Find the other videos of the open index that are most like a text.

    Args:
        searcher: The model, with an index open.
        text: The text.
        video: The file that is explained; it is not among them.
        count: How many.

    Returns:
        Their frames and scores, the hardest first.
    """
    others = [
        result
        for result in searcher.search(text, top_k=count + 1)
        if result.path != os.path.abspath(video)
    ]
    negatives = []
    for result in others[:count]:
        span = dict(start=result.start, end=result.end)
        span = {key: each for key, each in span.items() if each is not None}
        sample = searcher.encoder.pipelines.video(
            dict(filename=result.path, **span)
        )
        times = sample['data_samples'].get('frame_times')
        negatives.append(
            Scene(
                name=Path(result.path).name,
                frames=sample['inputs']['frames']
                .numpy()
                .transpose(0, 2, 3, 1),
                times=() if times is None else tuple(times),
                score=result.score,
            )
        )
    return negatives


WORST = 'Worst: the true video ranks last'
CONFUSED = 'Confused: two captions that each find the video of the other'
BEST = 'Best: the true video leads by most'
RANDOM = 'Drawn at random'


@torch.no_grad()
def find_failures(
    model: 'TextVideoRetriever',
    dataset: 'TextVideoDataset',
    count: int = 10,
    seed: int = 0,
) -> list[Failure]:
    """Find the captions of a test set that say most about a model.

    Args:
        model: The retriever, in evaluation mode.
        dataset: The test set, a sample per video.
        count: How many of each group at most.
        seed: Seed of the random ones.

    Returns:
        The worst by the rank of the true video; pairs of captions that are
        confused with each other, by how far the wrong videos lead; the best
        by how far the true one does; and random ones of the rest. No caption
        is in two groups.
    """
    encoded = _EncodedSet(model, dataset)
    order = encoded.ranks.argsort(descending=True, stable=True).tolist()
    groups = {WORST: order[:count], CONFUSED: encoded.confused(count)}
    shown = set(order[:count])
    groups[CONFUSED] = [
        row
        for pair in groups[CONFUSED]
        if not shown & set(pair)
        for row in pair
    ]
    shown.update(groups[CONFUSED])
    leads = encoded.leads().tolist()
    best = sorted(range(len(leads)), key=lambda row: -leads[row])
    right = (row for row in best if leads[row] > 0 and row not in shown)
    groups[BEST] = list(islice(right, count))
    shown.update(groups[BEST])
    others = [row for row in range(len(leads)) if row not in shown]
    groups[RANDOM] = random.Random(seed).sample(
        others, min(count, len(others))
    )
    return [
        encoded.explain(row, group)
        for group, rows in groups.items()
        for row in rows
    ]


class _EncodedSet:
    """A test set whose B captions are compared with all of its V videos."""

    def __init__(
        self, model: 'TextVideoRetriever', dataset: 'TextVideoDataset'
    ) -> None:
        store = FeatureStore()
        for samples in tqdm(list(_batches(dataset)), desc='encoding'):
            batch = model.data_preprocessor(pseudo_collate(samples), False)
            store.add(model(**batch, mode='predict'))
        gallery, _ = store.gather()
        self.model, self.dataset = model, dataset
        self.device = next(model.parameters()).device
        self.name_pieces = find_piece_names(dataset.pipeline)
        self.texts = [t for batch in store.text_batches for t in batch.texts]
        self.text = concatenate(
            [batch.features for batch in store.text_batches]
        )
        self.video = gallery.features
        blocks = score_in_blocks(
            model.similarity,
            self.text,
            self.video,
            MAX_MEGABYTES,
            self.device,
        )
        self.scores = torch.cat([block for _, block in blocks])
        ids = torch.cat([batch.video_ids for batch in store.text_batches])
        match = ids[:, None] == gallery.video_ids
        self.truth = match.int().argmax(1)
        self.ranks: Tensor = ranks(
            text_to_video(self.scores, ids, gallery.video_ids)
        )
        self.hard = hard_negatives(self.scores, match)

    def leads(self) -> Tensor:
        """How far the true video is above the best wrong one, (B,).

        Negative where a wrong one is above.
        """
        wrong = self.scores.scatter(1, self.truth[:, None], -torch.inf)
        return self._true_scores() - wrong.amax(1)

    def confused(self, count: int) -> list[list[int]]:
        """Pairs of captions whose best video is that of the other.

        The pairs come in the order of how far, in the sum of both, the wrong
        videos are above the true ones.
        """
        lead = self.scores - self._true_scores()[:, None]
        best = self.scores.argmax(1)
        found = []
        for row, column in enumerate(best.tolist()):
            for other in (self.truth == column).nonzero().flatten().tolist():
                if row < other and best[other] == self.truth[row] != column:
                    gap = lead[row, column] + lead[other, self.truth[row]]
                    found.append((-float(gap), row, other))
        return [pair for _, *pair in sorted(found)[:count]]

    def _true_scores(self) -> Tensor:
        return self.scores.gather(1, self.truth[:, None]).squeeze(1)

    def explain(self, row: int, group: str) -> Failure:
        """Explain the best videos of a caption, and the true one after them.

        Args:
            row: Row of the caption.
            group: Why it is shown.
        """
        truth = int(self.truth[row])
        count = min(TOP_K, self.scores.shape[1])
        best = self.scores[row].topk(count).indices.tolist()
        columns = best if truth in best else [*best, truth]
        return Failure(
            caption=self.texts[row],
            rank=float(self.ranks[row]),
            videos=self.scores.shape[1],
            top1_is_hard_negative=bool(self.hard[row, best[0]]),
            results=[self._result(row, column, truth) for column in columns],
            group=group,
        )

    def _result(self, row: int, column: int, truth: int) -> Result:
        sample = self.dataset[column]
        found = self.model.explain(
            self.text.select(torch.tensor([row])).to(self.device),
            self.video.select(torch.tensor([column])).to(self.device),
            self.name_pieces(self.texts[row]),
        )
        masked = [False] * found.cosines.shape[1]
        if found.frame_masking is not None:
            masked = found.frame_masking.removed.tolist()
        frames = sample['inputs']['frames'][: len(masked)]
        above = self.scores[row] > self.scores[row, column]
        return Result(
            name=Path(sample['data_samples'].get('filename', '')).name,
            score=float(self.scores[row, column]),
            rank=int(above.sum()) + 1,
            is_true=column == truth,
            frames=[
                Frame(frame.numpy().transpose(1, 2, 0), is_masked)
                for frame, is_masked in zip(frames, masked, strict=True)
            ],
            words=[
                Word(name, float(share), cosines.tolist())
                for name, share, cosines in zip(
                    found.words, found.shares, found.cosines, strict=True
                )
            ],
        )


def _batches(dataset: 'TextVideoDataset') -> Iterator[list[dict]]:
    for start in range(0, len(dataset), BATCH_SIZE):
        stop = min(start + BATCH_SIZE, len(dataset))
        yield [dataset[index] for index in range(start, stop)]
