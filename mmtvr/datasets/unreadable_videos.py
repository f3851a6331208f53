"""The videos that a worker could not read."""

import logging
from collections import Counter

from mmengine.logging import print_log

from mmtvr.video import UnreadableVideoError
from mmtvr.video.supervised_reader import DecoderFailedError

# The first time may be the fault of a disk that was busy; each further time
# costs the whole time limit.
MOST_TRIES = 2


class UnreadableVideos:
    """Unreadable videos that were met, until somebody asks for them."""

    def __init__(self) -> None:
        self._met: list[tuple[str, str]] = []
        self._reasons: dict[str, str] = {}
        self._failures: Counter[str] = Counter()

    def check(self, path: str) -> None:
        """Refuse a video that keeps a decoder busy or kills it.

        Args:
            path: The video file.

        Raises:
            UnreadableVideoError: If that happened twice.
        """
        if self._failures[path] >= MOST_TRIES:
            raise UnreadableVideoError(f'{path}: {self._reasons[path]}')

    def note(self, path: str, error: UnreadableVideoError) -> None:
        """Keep that a video could not be read; log it the first time.

        Args:
            path: The video file.
            error: What its reader said.
        """
        reason = str(error).removeprefix(f'{path}: ')
        if isinstance(error, DecoderFailedError):
            self._failures[path] += 1
        if path not in self._reasons:
            print_log(
                f'Unreadable video {path}: {reason}; another sample takes '
                'its place.',
                'current',
                logging.WARNING,
            )
        self._reasons[path] = reason
        self._met.append((path, reason))

    def take(self) -> list[tuple[str, str]]:
        """Hand over what was met since the last time.

        Returns:
            File and reason of each time.
        """
        met, self._met = self._met, []
        return met
