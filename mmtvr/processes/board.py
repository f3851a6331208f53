"""Where processes read what the others report: a key-value store of torch."""

from collections.abc import Sequence
from datetime import timedelta

from torch.distributed import PrefixStore, Store

from mmtvr.processes.report import Report

END = 'end'


class Board:
    """Reports of all processes, and the word that ends the run.

    Args:
        store: A connection that no other thread uses.
        rank: Rank of this process.
        world_size: Number of processes.
        timeout: Seconds after which a request that is not answered fails.
    """

    def __init__(
        self, store: Store, rank: int, world_size: int, timeout: float
    ) -> None:
        store.set_timeout(timedelta(seconds=timeout))
        self.store = PrefixStore('mmtvr', store)
        self.rank = rank
        self.world_size = world_size
        self.keys = [f'process {number}' for number in range(world_size)]

    def post(self, report: Report) -> None:
        """Publish the report of this process.

        Args:
            report: The report.
        """
        self.store.set(self.keys[self.rank], report.to_json())

    def missing(self) -> Sequence[int]:
        """Ranks that have not yet reported."""
        return [
            rank
            for rank, key in enumerate(self.keys)
            if not self.store.check([key])
        ]

    def read(self) -> Sequence[Report]:
        """Read the last report of every process.

        Returns:
            One report per rank.
        """
        return [Report.from_json(t) for t in self.store.multi_get(self.keys)]

    def announce_end(self, message: str) -> bool:
        """Say why the run ends, unless another process has said so.

        Args:
            message: Why.

        Returns:
            Whether this process was the first.
        """
        mine = f'{self.rank}: {message}'
        return self.store.compare_set(END, '', mine) == mine.encode()

    def has_ended(self) -> bool:
        """Whether a process has announced the end of the run."""
        return self.store.check([END])
