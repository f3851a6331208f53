"""Deal a test set out to processes in whole batches."""

import zlib
from collections.abc import Iterator, Sized
from typing import Any

import torch
from mmengine.dist import get_comm_device, get_dist_info
from torch.utils.data import DataLoader, Sampler

from mmtvr.distributed import gather_rows
from mmtvr.errors import SetupError


class WholeBatchSampler(Sampler[int]):
    """Give each process every R-th batch of the one and only order.

    Batches hold the same samples for any number of processes, hence the same
    rounding errors and the same numbers to the last digit. Nothing is padded
    or dropped: a process may get fewer batches than another, or none.

    Args:
        dataset: The test set.
        batch_size: Batch size of the loader that this sampler serves.
        seed: Not used; mmengine gives it to every sampler.
    """

    def __init__(
        self, dataset: Sized, batch_size: int, seed: int | None = None
    ) -> None:
        self.size = len(dataset)
        self.batch_size = batch_size
        self.rank, self.world_size = get_dist_info()

    def __iter__(self) -> Iterator[int]:
        """Yield the sample numbers of this process."""
        step = self.batch_size * self.world_size
        for start in range(self.rank * self.batch_size, self.size, step):
            yield from range(start, min(start + self.batch_size, self.size))

    def __len__(self) -> int:
        """Return the number of samples of this process."""
        return sum(1 for _ in self)


def in_whole_batches(dataloader: DataLoader | dict) -> DataLoader | dict:
    """Replace mmengine's plain sampler by :class:`WholeBatchSampler`.

    Args:
        dataloader: What a loop gets. A built loader, or a config with another
            sampler than an unshuffled ``DefaultSampler``, stays as it is.

    Returns:
        A config with the sampler replaced, or the argument.
    """
    if not isinstance(dataloader, dict) or dataloader.get('batch_sampler'):
        return dataloader
    sampler = dataloader.get('sampler') or {}
    kind = str(sampler.get('type', '')).rpartition('.')[2]
    if kind != 'DefaultSampler' or sampler.get('shuffle', True):
        return dataloader
    batch_size = dataloader['batch_size']
    return {
        **dataloader,
        'sampler': dict(type=WholeBatchSampler, batch_size=batch_size),
    }


def check_same_everywhere(dataset: Any) -> None:
    """Check that all processes have the same test set.

    They may not where machines miss different files, or where one of them
    found a file unreadable.

    Args:
        dataset: The test set of this process; ``left_out_ids`` of its meta
            information, if there, are the videos that it left out.

    Raises:
        SetupError: In every process, if two differ.
    """
    left_out = getattr(dataset, 'metainfo', {}).get('left_out_ids', ())
    state = [len(dataset), zlib.crc32(repr(list(left_out)).encode())]
    states = gather_rows(torch.tensor([state], device=get_comm_device()))
    if len(states.unique(dim=0)) > 1:
        raise SetupError(
            'the processes have different test sets, of '
            f'{", ".join(str(size) for size in states[:, 0].tolist())} '
            'samples: files are missing or unreadable for some of them only'
        )
