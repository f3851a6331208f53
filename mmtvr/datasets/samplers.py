"""Batches that resume in the middle of an epoch, with seeded samples."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.dist import get_dist_info
from torch.utils.data import BatchSampler, Dataset, Sampler

from mmtvr.randomness import place_seed, same_random_state, seed_generators
from mmtvr.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS


class SeededIndex(int):
    """Number of a sample, with the seed of its random draws (64 bits)."""

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        """Make a number with a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        """Keep the seed on the way to a loading worker."""
        return int(self), self.seed


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A dataset whose samples draw from generators set for each of them.

    What a sample draws, frames, captions, dropped words, augmentations and
    the sample that replaces an unreadable one, then depends neither on the
    worker that loads it nor on what that worker loaded before. All else is
    that of the inner dataset.

    Args:
        dataset (dict | Dataset): Any map-style dataset, or its config. Its
            random draws come from the global generators of Python, numpy
            and torch.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        self.dataset = dataset

    def full_init(self) -> None:
        """Load the annotations, if that was put off."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Load one sample.

        A :class:`SeededIndex` decides what it draws and leaves the generators
        of this process as they were.
        """
        draws_by_seed = getattr(self.dataset, 'draws_by_seed', False)
        if draws_by_seed or not isinstance(index, SeededIndex):
            return self.dataset[index]
        with same_random_state():
            seed_generators(index.seed, gpus=False)
            return self.dataset[int(index)]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        """Load a batch; a dataset that ``draws_by_seed`` does it at once."""
        if getattr(self.dataset, 'draws_by_seed', False):
            return self.dataset.__getitems__(indices)
        return [self[index] for index in indices]

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(Sampler[list[SeededIndex]]):
    """Batches of seeded sample numbers, from any batch of an epoch on.

    The seed of a sample is made of the seed of the run, the epoch and the
    position of the sample in the epoch over all processes. Batches that are
    left out are not loaded.

    Args:
        sampler (Sampler): Order of the samples of this process.
        batch_size (int): Samples per batch.
        drop_last (bool): Leave out a last batch that is not full.
        batch_sampler (dict, optional): Config of a batch sampler that makes
            the batches instead; gets ``sampler`` and ``batch_size``.

    Example:
        >>> batches = ResumableBatchSampler(range(5), 2)
        >>> batches.set_place(epoch=3, first_batch=1)
        >>> list(batches)
        [[2, 3], [4]]
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        drop_last: bool = False,
        batch_sampler: dict | None = None,
    ) -> None:
        self.sampler = sampler
        self.batch_size = batch_size
        if batch_sampler is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            inner = dict(sampler=sampler, batch_size=batch_size)
            self.batches = DATA_SAMPLERS.build(
                batch_sampler, default_args=inner
            )
        self.rank, self.world_size = get_dist_info()
        #: Seed of the run.
        self.seed = 0
        self.epoch = 0
        self.first_batch = 0

    def set_place(self, epoch: int, first_batch: int) -> None:
        """Start the next iteration at a batch of an epoch, both from 0."""
        self.epoch = epoch
        self.first_batch = first_batch

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        """Yield the numbers of the samples, batch by batch."""
        position = 0
        for number, batch in enumerate(self.batches):
            if number >= self.first_batch:
                yield [
                    SeededIndex(index, self._seed_at(position + i))
                    for i, index in enumerate(batch)
                ]
            position += len(batch)

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return len(self.batches)

    def _seed_at(self, position: int) -> int:
        everywhere = position * self.world_size + self.rank
        return place_seed(self.seed, self.epoch, everywhere)


@FUNCTIONS.register_module()
def stack_samples(batch: Sequence[dict]) -> dict:
    """Stack what has one shape; keep the rest as lists.

    Each tensor that leaves a worker costs the main process a file handle and
    a map into memory, so a few large ones arrive sooner than many small ones.

    Args:
        batch: What ``PackTextVideo`` returns, one dict per sample.

    Returns:
        ``inputs``, a dict with one entry per key: a tensor with a first axis
        for the samples, or a list where shapes differ, as the captions of
        test videos do; and ``data_samples``, a list.
    """
    data = pseudo_collate(batch)
    data['inputs'] = {
        key: torch.stack(values)
        if len({value.shape for value in values}) == 1
        else values
        for key, values in data['inputs'].items()
    }
    return data
