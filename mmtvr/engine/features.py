"""Features of a test set, kept batch by batch, then scored in blocks."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dist import (
    all_gather_object,
    get_comm_device,
    get_rank,
    is_main_process,
)
from torch import Tensor

from mmtvr.distributed.gather import gather_features, gather_rows
from mmtvr.errors import NonFiniteError
from mmtvr.files import write_arrays
from mmtvr.structures import TokenFeatures, concatenate

MAX_NAMES = 5
# A head makes the word-by-frame table, a masked copy and one more of its own.
TABLES_PER_BLOCK = 3
BYTES_PER_CELL = 4

Similarity = Callable[[TokenFeatures, TokenFeatures], Tensor]


def check_features(
    features: TokenFeatures, what: str, names: Sequence[str]
) -> None:
    """Refuse features that are NaN or infinite, padding excepted.

    Args:
        features: N rows.
        what: What a row is, in the plural.
        names: What each row is called.

    Raises:
        NonFiniteError: Names the first rows that are not finite.
    """
    finite = torch.isfinite(features.pooled).all(dim=-1)
    tokens = torch.isfinite(features.tokens).all(dim=-1)
    finite &= (tokens | ~features.mask).all(dim=-1)
    if finite.all():
        return
    bad = [names[row] for row in (~finite).nonzero().flatten().tolist()]
    shown = ', '.join(bad[:MAX_NAMES])
    more = ', ...' if len(bad) > MAX_NAMES else ''
    raise NonFiniteError(
        f'the features of {len(bad)} of {len(names)} {what} of a batch are '
        f'NaN or infinite and cannot be ranked: {shown}{more}. Look at the '
        'weights of the checkpoint where it is all of them, else at these'
    )


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

    def select(self, keep: Tensor) -> 'TextBatch':
        """Take captions by a bool mask (N,)."""
        if keep.all():
            return self
        return TextBatch(
            self.features.select(keep),
            self.video_ids[keep],
            self.row[keep],
            [text for text, k in zip(self.texts, keep, strict=True) if k],
        )


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
        text = _on_cpu(concatenate([s.text_features for s in samples]))
        video = _on_cpu(concatenate([s.video_features for s in samples]))
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
        own = concatenate([nothing, *self.videos]).to(get_comm_device())
        return gather_features(own).to('cpu')


def write_features(
    path: Path, batches: Sequence[TextBatch], gallery: Gallery
) -> None:
    """Write the pooled features of all texts and videos as npz.

    ``tools/evaluate.py`` reads the file and compares by cosine, which is what
    ``CosineHead`` does; heads that compare words with frames need the scores,
    see ``SimilarityDump``. The file is read without pickle and holds ``text``
    (B, D) and ``video`` (V, D) float32, ``text_video_ids`` (B,) and
    ``video_ids`` (V,) int64, ``texts`` (B,) and ``videos`` (V,) strings.

    Args:
        path: Ends in ``.npz``. The first process writes it.
        batches: The texts of this process.
        gallery: All videos.
    """
    width = gallery.features.pooled.shape[1]
    none = torch.zeros(0, dtype=torch.int64)
    pooled = [batch.features.pooled for batch in batches]
    text = _gather(torch.cat([torch.zeros(0, width), *pooled]))
    ids = _gather(torch.cat([none, *(batch.video_ids for batch in batches)]))
    own = [caption for batch in batches for caption in batch.texts]
    texts = list(chain.from_iterable(all_gather_object(own)))
    if not is_main_process():
        return
    column = (ids[:, None] == gallery.video_ids).int().argmax(dim=1)
    order = column.argsort(stable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(
        path,
        dict(
            text=text[order].numpy(),
            video=gallery.features.pooled.numpy(),
            text_video_ids=ids[order].numpy(),
            video_ids=gallery.video_ids.numpy(),
            texts=np.array([texts[i] for i in order.tolist()]),
            videos=np.array(gallery.names),
        ),
    )


def block_shape(
    words: int, videos: int, frames: int, megabytes: float
) -> tuple[int, int]:
    """Block of texts and videos within the budget, of about as many tokens.

    What a head prepares for its texts and for its videos then costs little
    beside their products. Depends on nothing but the test set and the budget,
    so that any number of processes scores the same blocks.

    Args:
        words: Tokens of a caption, padding included.
        videos: Videos of the test set.
        frames: Tokens of a video, padding included.
        megabytes: Budget for the float32 word-by-frame tables of one block.

    Returns:
        Texts and videos of a block, both at least 1.
    """
    pair = words * frames * TABLES_PER_BLOCK * BYTES_PER_CELL
    pairs = max(1, int(megabytes * 2**20) // pair)
    square = math.isqrt(pairs * words // max(1, frames))
    columns = max(1, min(videos, square))
    return max(1, pairs // columns), columns


def score_in_blocks(
    similarity: Similarity,
    texts: TokenFeatures,
    videos: TokenFeatures,
    megabytes: float,
    device: torch.device,
) -> Iterator[tuple[int, Tensor]]:
    """Compare every text with every video.

    Args:
        similarity: The model's comparison of B texts with V videos, (B, V).
        texts: Features of N texts.
        videos: Features of V videos, V at least 1.
        megabytes: Memory budget of a block; see :func:`block_shape`.
        device: Where the similarity runs.

    Yields:
        Number of the first text of a block of rows, and the rows: shape
        (n, V), float32, CPU.
    """
    count = len(videos.mask)
    rows, columns = block_shape(
        texts.mask.shape[1], count, videos.mask.shape[1], megabytes
    )
    for top in range(0, len(texts.mask), rows):
        block = texts.select(slice(top, top + rows)).to(device)
        parts = [
            similarity(
                block, videos.select(slice(left, left + columns)).to(device)
            )
            for left in range(0, count, columns)
        ]
        yield top, torch.cat(parts, dim=1).float().cpu()


def _on_cpu(features: TokenFeatures) -> TokenFeatures:
    """In float32, whatever autocast made of them."""
    return features.map(
        lambda x: (x.float() if x.is_floating_point() else x).cpu()
    )


def _gather(local: Tensor) -> Tensor:
    return gather_rows(local.to(get_comm_device())).cpu()
