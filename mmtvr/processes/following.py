"""Loading workers that end when the process they load for is gone."""

import multiprocessing
import os
import threading
from collections.abc import Callable


class EndWithParent:
    """The start of a loading worker that ends with its parent.

    A worker of PyTorch notices within seconds that its parent was killed, but
    first hands over what it has loaded. Where that is more than a pipe holds,
    it waits for ever, since nobody reads.

    Args:
        then: What else is done at the start of each worker, as
            ``worker_init_fn`` of ``torch.utils.data.DataLoader``.

    Example:
        >>> loader = DataLoader(data, num_workers=2,
        ...                     worker_init_fn=EndWithParent())
    """

    def __init__(self, then: Callable[[int], None] | None = None) -> None:
        self.then = then

    def __call__(self, worker: int) -> None:
        """Begin to watch, in a worker.

        Args:
            worker: Its number.
        """
        parent = multiprocessing.parent_process()
        threading.Thread(target=_end_after, args=[parent], daemon=True).start()
        if self.then is not None:
            self.then(worker)


def _end_after(parent: multiprocessing.Process) -> None:
    parent.join()
    # What is open belongs to nobody any more, and an orderly end would wait.
    os._exit(1)
