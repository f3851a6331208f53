"""Batches that can begin in the middle of an epoch."""

from collections.abc import Iterator

from mmengine.dist import get_dist_info
from torch.utils.data import BatchSampler, Sampler

from mmtvr.datasets.seeded_dataset import SeededIndex
from mmtvr.randomness import place_seed
from mmtvr.registry import DATA_SAMPLERS


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
        """Choose what the next iteration yields.

        Args:
            epoch: Epoch, from 0.
            first_batch: Batches of the epoch to leave out.
        """
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
