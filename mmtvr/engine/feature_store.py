"""Keep the features of a test set while it is encoded batch by batch."""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_comm_device, get_rank
from torch import Tensor
from torch.nn.functional import pad

from mmtvr.distributed import gather_features, gather_rows
from mmtvr.engine.finite_features import check_features
from mmtvr.structures import TokenFeatures


class TextBatch(NamedTuple):
    """The captions of one batch, in the order in which they were encoded.

    Attributes:
        features: Features of N captions, float32, CPU.
        video_ids: Shape (N,), int64 id of the video of each caption.
        row: Shape (N,), int64. Which of the samples of this rank, counted in
            the order in which they were added, each caption belongs to.
        texts: The N captions.
    """

    features: TokenFeatures
    video_ids: Tensor
    row: Tensor
    texts: list[str]


class Gallery(NamedTuple):
    """All videos of the test set, in its order, the same on every rank.

    Attributes:
        features: Features of V videos, float32, CPU.
        video_ids: Shape (V,), int64.
        names: The V file names.
    """

    features: TokenFeatures
    video_ids: Tensor
    names: list[str]


def join(parts: Sequence[TokenFeatures]) -> TokenFeatures:
    """Concatenate features, padded to the longest.

    Args:
        parts: At least one; equal width, any number of rows and tokens.

    Returns:
        All rows. The weight is None if it is None in the first part.
    """
    length = max(part.mask.shape[1] for part in parts)
    parts = [lengthen(part, length) for part in parts]
    return TokenFeatures(
        *(
            None if fields[0] is None else torch.cat(fields)
            for fields in zip(*parts, strict=True)
        )
    )


def lengthen(features: TokenFeatures, length: int) -> TokenFeatures:
    """Append padding.

    Args:
        features: N rows of S tokens.
        length: Number of tokens wanted, at least S.

    Returns:
        The same features, (N, length, D), with False in the added mask.
    """
    more = length - features.mask.shape[1]
    if not more:
        return features
    weight = features.weight
    return TokenFeatures(
        pad(features.tokens, (0, 0, 0, more)),
        pad(features.mask, (0, more)),
        features.pooled,
        None if weight is None else pad(weight, (0, more)),
    )


def _to_float_cpu(features: TokenFeatures) -> TokenFeatures:
    return TokenFeatures(
        *(
            field
            if field is None
            else (field.float() if field.is_floating_point() else field).cpu()
            for field in features
        )
    )


class FeatureStore:
    """Features of the samples that this rank encoded.

    Captions stay on the rank that encoded them; only videos are gathered.
    """

    def __init__(self) -> None:
        self.text_batches: list[TextBatch] = []
        self.videos: list[TokenFeatures] = []
        self.rows: list[tuple[int, int]] = []
        self.names: list[str] = []
        self.cut_captions: list[int] = []

    def add(self, samples: Sequence[Any]) -> None:
        """Keep one batch of predictions.

        Args:
            samples: Data samples with ``text_features`` (n captions),
                ``video_features`` (1 video) and the metainfo ``video_id``,
                ``sample_idx``, ``text`` (n strings) and, if there are any,
                ``filename`` and ``cut_captions``.

        Raises:
            NonFiniteError: Features are NaN or infinite; names whose.
        """
        counts = torch.tensor([len(s.text_features.mask) for s in samples])
        ids = torch.tensor([int(s.video_id) for s in samples])
        row = torch.arange(len(samples)) + len(self.rows)
        names = [str(s.get('filename', s.video_id)) for s in samples]
        text = _to_float_cpu(join([s.text_features for s in samples]))
        video = _to_float_cpu(join([s.video_features for s in samples]))
        check_features(video, 'videos', names)
        check_features(
            text,
            'captions',
            [
                f'{caption!r} of {name}'
                for name, s in zip(names, samples, strict=True)
                for caption in s.text
            ],
        )
        self.text_batches.append(
            TextBatch(
                text,
                video_ids=ids.repeat_interleave(counts),
                row=row.repeat_interleave(counts),
                texts=[text for s in samples for text in s.text],
            )
        )
        self.videos.append(video)
        self.rows += [(int(s.sample_idx), int(s.video_id)) for s in samples]
        self.names += [str(s.get('filename', '')) for s in samples]
        self.cut_captions += [int(s.get('cut_captions', 0)) for s in samples]

    def gather(self) -> tuple[Gallery, Tensor]:
        """Gather the videos of all ranks, each of them once.

        Samplers may repeat samples to give each rank the same number; the
        first one, by rank and then by order, stays.

        Returns:
            All videos sorted by their position in the test set; and which
            samples of this rank stay, bool, one for each that was added.

        Raises:
            ValueError: No rank has a sample.
        """
        counts = _gather(torch.tensor([len(self.rows)]))
        if not counts.sum():
            raise ValueError('there is nothing to evaluate: no sample came')
        rows = _gather(torch.tensor(self.rows).long().reshape(-1, 2))
        first = torch.from_numpy(
            np.unique(rows[:, 0].numpy(), return_index=True)[1]
        )
        names = list(chain.from_iterable(all_gather_object(self.names)))
        gallery = Gallery(
            self._gather_videos().select(first),
            video_ids=rows[first, 1],
            names=[names[i] for i in first.tolist()],
        )
        keep = torch.zeros(len(rows), dtype=torch.bool)
        keep[first] = True
        return gallery, keep.split(counts.tolist())[get_rank()]

    def _gather_videos(self) -> TokenFeatures:
        """Gather videos of all ranks, padded to the longest of any rank."""
        shape = [part.tokens.shape[1:] for part in self.videos]
        length, width = (
            _gather(torch.tensor(shape).long().reshape(-1, 2))
            .amax(dim=0)
            .tolist()
        )
        nothing = TokenFeatures(
            torch.zeros(0, length, width),
            torch.zeros(0, length, dtype=torch.bool),
            torch.zeros(0, width),
        )
        own = join([nothing, *self.videos]).to(get_comm_device())
        return gather_features(own).to('cpu')


def _gather(local: Tensor) -> Tensor:
    return gather_rows(local.to(get_comm_device())).cpu()
