"""Count and list the videos that training could not read; stop at too many."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.engine.hooks.logging import (
    UNREADABLE,
    count_samples,
    data_samples_of,
)
from mmtvr.errors import SetupError
from mmtvr.files import write_csv
from mmtvr.registry import HOOKS

#: In the message hub: epoch, samples and unreadable videos of it so far.
COUNTS = 'mmtvr_unreadable_counts'
COLUMNS = ('file', 'reason', 'times')
MAX_FILES = 5
# Chance at one check to stop a run whose true share is just the allowed one.
CHANCE = 1e-4


@HOOKS.register_module()
class UnreadableVideosHook(Hook):
    """Report unreadable videos of training, and stop when they are many.

    :class:`TextVideoDataset` replaces an unreadable video by another sample,
    which carries its name and the reason. All processes share what they met
    every ``interval`` iterations and at the end of each epoch. The list, each
    file with its reason and how often it was met since training began, is
    kept in the work folder and in checkpoints, so a resumed run continues it.
    Each epoch with unreadable videos gets a line in the log.

    The share is that of unreadable ones among all samples that an epoch asked
    for. At the end of the epoch it is compared as it is; earlier, the run
    stops when so many would be met with a probability of less than 1 in
    10,000 if the true share were ``max_share``.

    Args:
        max_share (float): Largest share, 0 to 1.
        interval (int): Iterations between two checks.
        file_name (str): Name of the list in the work folder.

    Raises:
        ValueError: If ``max_share`` is not between 0 and 1 or ``interval``
            is not positive.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        max_share: float = 0.01,
        interval: int = 20,
        file_name: str = 'unreadable_videos.csv',
    ) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f'max_share must be in 0..1, got {max_share}')
        if interval < 1:
            raise ValueError(f'interval must be positive, got {interval}')
        self.max_share = max_share
        self.interval = interval
        self.file_name = file_name
        self.found: dict[str, tuple[str, int]] = {}
        self.asked = self.unreadable = 0
        # Since the processes last shared what they met.
        self._read = 0
        self._met: list[tuple[str, str]] = []

    def before_train(self, runner: Runner) -> None:
        """Continue the list of the run that is resumed, or begin one."""
        self.found = runner.message_hub.get_info(UNREADABLE) or {}
        path = self._path(runner)
        if not self.found and path.exists() and is_main_process():
            earlier = path.with_suffix('.earlier' + path.suffix)
            path.replace(earlier)
            runner.logger.info(f'{path} of an earlier run is now {earlier}')

    def before_train_epoch(self, runner: Runner) -> None:
        """Start counting, or continue in an epoch that was interrupted."""
        epoch, *counts = runner.message_hub.get_info(COUNTS, (None, 0, 0))
        self.asked, self.unreadable = (
            counts if epoch == runner.epoch else (0, 0)
        )

    def before_checkpoint(self, runner: Runner) -> None:
        """Keep the counts of the epoch in the checkpoint to be written."""
        self._share_between_processes(runner)
        runner.message_hub.update_info(
            COUNTS, (runner.epoch, self.asked, self.unreadable)
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Count one batch, and check now and then.

        Raises:
            SetupError: If clearly too many videos are unreadable.
        """
        self._read += count_samples(data_batch)
        self._met += [
            tuple(video)
            for sample in data_samples_of(data_batch)
            if hasattr(sample, 'metainfo')
            for video in sample.get('unreadable_videos', ())
        ]
        if self.every_n_inner_iters(batch_idx, self.interval):
            self._share_between_processes(runner)
            if self._is_too_many() and self._is_significant():
                raise SetupError(self._describe_excess(runner))

    def after_train_epoch(self, runner: Runner) -> None:
        """Log what the epoch met.

        Raises:
            SetupError: If too many videos were unreadable.
        """
        self._share_between_processes(runner)
        if self._is_too_many():
            raise SetupError(self._describe_excess(runner))
        if self.unreadable:
            runner.logger.info(
                f'Epoch {runner.epoch + 1}: {self._describe_share()}, and '
                f'others took their place; {len(self.found)} files since the '
                f'beginning are listed in {self._path(runner)}'
            )

    def _share_between_processes(self, runner: Runner) -> None:
        counts = torch.tensor([self._read, len(self._met)])
        all_reduce(counts)
        read, met = counts.tolist()
        self.asked += read + met
        self.unreadable += met
        if met:
            every = chain.from_iterable(all_gather_object(self._met))
            self._extend_list(runner, list(every))
        self._read, self._met = 0, []

    def _extend_list(self, runner: Runner, met: Sequence) -> None:
        for file, reason in met:
            _, times = self.found.get(file, (reason, 0))
            self.found[file] = (reason, times + 1)
        runner.message_hub.update_info(UNREADABLE, dict(self.found))
        if is_main_process():
            _write_list(self._path(runner), self.found)

    def _is_too_many(self) -> bool:
        return self.unreadable > self.max_share * self.asked

    def _is_significant(self) -> bool:
        from scipy.stats import binom

        chance = binom.sf(self.unreadable - 1, self.asked, self.max_share)
        return bool(chance < CHANCE)

    def _describe_share(self) -> str:
        return (
            f'{self.unreadable:,} of {self.asked:,} samples '
            f'({self.unreadable / self.asked:.2%}) were unreadable videos'
        )

    def _describe_excess(self, runner: Runner) -> str:
        often = sorted(self.found.items(), key=lambda item: -item[1][1])
        lines = [f'  {file}: {why}' for file, (why, _) in often]
        more = len(lines) - MAX_FILES
        if more > 0:
            lines[MAX_FILES:] = [f'  and {more} more']
        return '\n'.join(
            [
                f'{self._describe_share()} in epoch {runner.epoch + 1}, more '
                f'than the {self.max_share:.2%} allowed. They are listed in '
                f'{self._path(runner)}:',
                *lines,
                'Fix or leave them out (python tools/data/verify.py CONFIG '
                'finds all of them beforehand), or set max_share of '
                'mmtvr.UnreadableVideosHook.',
            ]
        )

    def _path(self, runner: Runner) -> Path:
        return Path(runner.work_dir, self.file_name)


def _write_list(path: Path, found: dict[str, tuple[str, int]]) -> None:
    rows = [(name, *facts) for name, facts in sorted(found.items())]
    write_csv(path, COLUMNS, rows)
