"""Loading workers that exit when the process they load for is gone."""

import multiprocessing
import os
import threading
from collections.abc import Callable


class ExitWithParent:
    """A ``worker_init_fn`` of a data loader whose workers exit with it.

    A worker of PyTorch (2.13) notices within seconds that its parent was
    killed, but first hands over what it has loaded. Where that is more than a
    pipe holds, it waits forever, since nobody reads.

    Args:
        then: What else is done at the start of each worker.

    Example:
        >>> loader = DataLoader(data, num_workers=2,
        ...                     worker_init_fn=ExitWithParent())
    """

    def __init__(self, then: Callable[[int], None] | None = None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        """Begin to watch the parent, in a worker."""
        parent = multiprocessing.parent_process()
        threading.Thread(
            target=_exit_after, args=[parent], daemon=True
        ).start()
        if self.then is not None:
            self.then(worker)


def _exit_after(parent: multiprocessing.Process) -> None:
    parent.join()
    # What is open belongs to nobody any more; an orderly exit would wait.
    os._exit(1)
