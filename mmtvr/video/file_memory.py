"""What a process remembers of the files that it has looked through."""

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtvr.files import FileStamp

CAPACITY = 4096


@dataclass
class Findings:
    """What was found out about one file.

    Attributes:
        in_order: Why it must be read in order; an empty text for a file that
            need not, None if nobody has looked.
        needs_trial: Whether the first pictures must be decoded to know how,
            since container and settings did not tell all or were wrong.
        times: Shape (number of frames,), seconds since the first frame, of a
            file that was decoded to the end.
    """

    in_order: str | None = None
    needs_trial: bool = False
    times: np.ndarray | None = None


class FileMemory:
    """Findings by file, as long as its size and its time stay.

    Args:
        capacity: Number of files; the one that was not asked for the longest
            makes room.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._findings: OrderedDict[Any, Findings] = OrderedDict()

    def __len__(self) -> int:
        return len(self._findings)

    def recall(self, path: str) -> Findings:
        """Look a file up.

        Args:
            path: A file.

        Returns:
            What is known of it, to be added to; nothing for a new file, and
            nothing that is kept for one that cannot be found.
        """
        try:
            stamp = FileStamp.of(os.stat(path))
        except OSError:
            return Findings()
        key = os.path.abspath(path), stamp
        findings = self._findings.setdefault(key, Findings())
        self._findings.move_to_end(key)
        if len(self._findings) > self.capacity:
            self._findings.popitem(last=False)
        return findings


#: Of this process.
MEMORY = FileMemory()
