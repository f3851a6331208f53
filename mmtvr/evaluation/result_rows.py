"""What the metric keeps of each batch, and how ranks put it together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import get_comm_device, get_dist_info
from torch import Tensor

from mmtvr.distributed import gather_rows

UNKNOWN_ID = -1


class ResultRows(NamedTuple):
    """Rows of one batch or of a whole test set, on the CPU.

    Attributes:
        rows: Shape (N, W), float32. Either the scores of N texts against W
            videos, or for N samples the text feature followed by the video
            feature, each W / 2 wide.
        ids: Shape (N,), int64. Video id of each row; -1 if unknown.
        video_ids: Shape (W,), int64 id of each column of scores; empty when
            the rows hold features.
    """

    rows: Tensor
    ids: Tensor
    video_ids: Tensor


def from_scores(samples: Sequence[Mapping]) -> ResultRows:
    """Rows of scores.

    Args:
        samples: Dicts with ``scores`` (V,), ``text_video_id`` and
            ``video_ids`` (V,), the latter the same in all of them.

    Returns:
        One row per sample.
    """
    return ResultRows(
        torch.stack([sample['scores'] for sample in samples]).float().cpu(),
        torch.tensor([int(sample['text_video_id']) for sample in samples]),
        torch.as_tensor(samples[0]['video_ids']).cpu(),
    )


def from_features(samples: Sequence[Mapping]) -> ResultRows:
    """Rows of features, as mmaction2's ``CLIPSimilarity`` predicts them.

    Args:
        samples: Dicts with ``features``, which holds ``text_feature`` (D,)
            and ``video_feature`` (D,), and perhaps an integer ``video_id``.

    Returns:
        One row per sample.
    """
    pairs = [
        torch.cat([found['text_feature'], found['video_feature']])
        for found in (sample['features'] for sample in samples)
    ]
    ids = [sample.get('video_id') for sample in samples]
    return ResultRows(
        torch.stack(pairs).float().cpu(),
        torch.tensor([i if isinstance(i, int) else UNKNOWN_ID for i in ids]),
        torch.empty(0, dtype=torch.int64),
    )


def _gather(local: Tensor) -> Tensor:
    return gather_rows(local.to(get_comm_device())).cpu()


def dealt_order(count: int, size: int) -> Tensor:
    """Order that takes gathered rows of all ranks in turn.

    mmengine's samplers deal samples out to ranks in turn and append some to
    give each rank the same number; those are cut off.

    Args:
        count: Number of rows of this rank.
        size: Number of rows of the whole test set.

    Returns:
        Shape (at most size,), int64 index into rows gathered rank by rank.
    """
    rank, world = get_dist_info()
    turn = _gather(torch.arange(count) * world + rank)
    return turn.argsort()[:size]


def collect(results: Sequence[ResultRows], size: int) -> ResultRows:
    """Put the batches of all ranks together, as tensors, without pickles.

    Args:
        results: The batches of this rank; may be empty.
        size: Number of rows of the whole test set.

    Returns:
        All rows in their dealt order, the same on every rank.

    Raises:
        ValueError: No rank has a row.
    """
    shape = [(t.rows.shape[1], len(t.video_ids)) for t in results[:1]]
    shapes = _gather(torch.tensor(shape, dtype=torch.int64).reshape(-1, 2))
    if not len(shapes):
        raise ValueError('there is nothing to evaluate: no rank has a result')
    width, videos = shapes[0].tolist()
    none = torch.empty(0, dtype=torch.int64)
    rows = torch.cat([torch.empty(0, width), *(t.rows for t in results)])
    ids = torch.cat([none, *(t.ids for t in results)])
    columns = torch.cat([none, *(t.video_ids for t in results[:1])])
    order = dealt_order(len(rows), size)
    if videos:
        columns = _gather(columns.reshape(-1, videos))[0]
    return ResultRows(_gather(rows)[order], _gather(ids)[order], columns)


def to_scores(table: ResultRows) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of a collected table.

    Features are compared by cosine. Samples with the same video id share one
    column; without ids each sample is its own video.

    Args:
        table: Scores or features.

    Returns:
        Scores (B, V), video id of each text (B,), id of each video (V,).
    """
    if len(table.video_ids):
        return table.rows, table.ids, table.video_ids
    text, video = torch.nn.functional.normalize(
        table.rows.unflatten(1, (2, -1)), dim=-1
    ).unbind(dim=1)
    ids = table.ids
    if (ids == UNKNOWN_ID).any():
        ids = torch.arange(len(ids))
    columns, first = np.unique(ids.numpy(), return_index=True)
    return text @ video[first].T, ids, torch.from_numpy(columns)
