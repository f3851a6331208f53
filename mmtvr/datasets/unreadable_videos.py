"""Videos that a worker could not read: counted, reported, given up."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mmengine.logging import print_log

from mmtvr.errors import SetupError
from mmtvr.video import UnreadableVideoError
from mmtvr.video.supervised_reader import DecoderFailedError

# The first time may be the fault of a disk that was busy; each further time
# costs the whole time limit.
MAX_TRIES = 2
# With one unreadable video in ten, once in 10^20 samples.
MAX_IN_A_ROW = 20
# Where each of them takes the whole time limit, few must do.
MAX_SLOW_IN_A_ROW = 5
SLOW_SECONDS = 120.0
NAMES_SHOWN = 5


class UnreadableVideos:
    """Unreadable videos since the last :meth:`take`."""

    def __init__(self) -> None:
        self._met: list[tuple[str, str]] = []
        self._reasons: dict[str, str] = {}
        self._failures: Counter[str] = Counter()

    def check(self, path: str) -> None:
        """Refuse a video whose decoder twice took too long or died.

        Raises:
            UnreadableVideoError: For such a video.
        """
        if self._failures[path] >= MAX_TRIES:
            raise UnreadableVideoError(f'{path}: {self._reasons[path]}')

    def note(self, path: str, error: UnreadableVideoError) -> None:
        """Record that a video could not be read; log it the first time."""
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
        """Return and forget file and reason of each time."""
        met, self._met = self._met, []
        return met


class ReplacedSamples:
    """Attach to a whole sample what was unreadable before it."""

    def __init__(self) -> None:
        self._met: list[tuple[str, str]] = []
        self._in_a_row = 0
        self._last_good = time.monotonic()

    def account(self, transforms: Sequence[Any], packed: dict | None) -> None:
        """Account for one sample of training.

        Args:
            transforms: The pipeline; ``take_unreadable`` of those that have
                it gives files and reasons.
            packed: What came out of it; None for an unreadable video.

        Raises:
            SetupError: If one sample after another is unreadable.
        """
        for transform in transforms:
            if hasattr(transform, 'take_unreadable'):
                self._met += transform.take_unreadable()
        if packed is None:
            self._in_a_row += 1
            limit = MAX_IN_A_ROW
            if time.monotonic() - self._last_good > SLOW_SECONDS:
                limit = MAX_SLOW_IN_A_ROW
            if self._in_a_row >= limit:
                self._refuse_to_go_on()
            return
        self._in_a_row = 0
        self._last_good = time.monotonic()
        sample = packed.get('data_samples')
        if self._met and hasattr(sample, 'set_metainfo'):
            sample.set_metainfo(dict(unreadable_videos=self._met))
            self._met = []

    def _refuse_to_go_on(self) -> None:
        reasons = dict(self._met[-self._in_a_row :])
        lines = [f'\n  {file}: {why}' for file, why in reasons.items()]
        raise SetupError(
            f'{self._in_a_row} samples one after another could not be read:'
            f'{name_some(lines, "")}'
        )


def name_some(names: Sequence[str], separator: str = ', ') -> str:
    """Join the first five, and three dots if there are more.

    Names may be lines that begin with a line break; the separator is then
    empty.
    """
    shown = [*names[:NAMES_SHOWN]]
    if len(names) > NAMES_SHOWN:
        shown.append('...' if separator else '\n  ...')
    return separator.join(shown)
