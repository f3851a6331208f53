"""A page in the work folder that says what the run was and what it gave."""

import os
import platform
import shlex
import sys
import time
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path

import torch
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.engine.hooks.logging import (
    aligned,
    describe_plan,
    label_results,
    metric_rows,
)
from mmtvr.files import write_atomically
from mmtvr.registry import HOOKS

FILE_NAME = 'run_summary.md'
PACKAGES = ('mmtvr', 'torch', 'mmengine', 'mmaction2', 'transformers', 'av')
PAGE = """\
# {name}

{state}

## Command

    {command}

in {folder}

{plan}.

## Results

{results}

## What lies here

| | |
|---|---|
| `{config}` | the whole config, as it ran |
| `epoch_N.pth`, `best_*.pth` | checkpoints; `last_checkpoint` names the last |
| `{time}/{time}.log` | the log, with settings and environment |
| `{time}/vis_data/` | the curves: `mmtvr curves {work} --out curves.png` |

## What can come next

    {resume}
    {test}
    {index}

## Machine and versions

{versions}
"""


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Write ``run_summary.md`` into the work folder of a training.

    At the start with the command, what it will do and the versions, after
    each validation and at the end with the results. Added to every run.

    Args:
        key (str): A metric with the prefix of those to show.
    """

    # What others keep of the results is there then.
    priority = 'VERY_LOW'

    def __init__(self, key: str = 'retrieval/R1') -> None:
        self.prefix = key.rpartition('/')[0] + '/'
        self.started = datetime.now()
        self.start = time.monotonic()
        self.plan: str | None = None

    def before_train(self, runner: Runner) -> None:
        """Say what begins."""
        self.started, self.start = datetime.now(), time.monotonic()
        self.plan = describe_plan(runner)
        self._write(runner, 'begun; this page is written again at its end')

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Say how far it is."""
        if self.plan is not None and runner.iter < runner.max_iters:
            self._write(runner, f'at step {runner.iter:,} when last written')

    def after_train(self, runner: Runner) -> None:
        """Say what it gave."""
        seconds = int(time.monotonic() - self.start)
        self._write(runner, f'finished after {timedelta(seconds=seconds)}')

    @master_only
    def _write(self, runner: Runner, state: str) -> None:
        work = Path(runner.work_dir)
        write_atomically(work / FILE_NAME, self._describe(runner, state))

    def _describe(self, runner: Runner, state: str) -> str:
        results = label_results(runner.message_hub)
        table = 'No validation yet.'
        if results:
            rows = metric_rows(results, self.prefix)
            table = '\n'.join(
                f'    {line}' for line in aligned(rows).splitlines()
            )
        config = runner.cfg.filename or 'CONFIG'
        work = shlex.quote(str(runner.work_dir))
        of = f'{shlex.quote(config)} --work-dir {work}'
        return PAGE.format(
            name=runner.experiment_name,
            state=f'Started {self.started:%Y-%m-%d %H:%M}, {state}.',
            command=describe_command(sys.argv),
            folder=os.getcwd(),
            plan=self.plan,
            results=table,
            config=Path(config).name,
            time=runner.timestamp,
            work=work,
            resume=f'mmtvr train {of} --resume',
            test=f'mmtvr test {shlex.quote(config)} {work}',
            index=f'mmtvr index {shlex.quote(config)} VIDEOS --checkpoint '
            f'{work} --into INDEX',
            versions='\n'.join(f'- {each}' for each in describe_machine()),
        )


def describe_command(argv: list[str]) -> str:
    """A command line as one would type it."""
    program, *arguments = argv
    name = os.path.basename(program)
    if name == '__main__.py':
        name = 'mmtvr'
    if name.endswith('.py'):
        name = f'python {os.path.relpath(program)}'
    return shlex.join([*name.split(), *arguments])


def describe_machine() -> list[str]:
    """Device, processes and versions, a line each."""
    device = f'CPU, {os.cpu_count()} cores'
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    if get_world_size() > 1:
        device += f', {get_world_size()} processes'
    lines = [device, platform.platform()]
    lines.append(f'Python {platform.python_version()}')
    for package in PACKAGES:
        try:
            lines.append(f'{package} {metadata.version(package)}')
        except metadata.PackageNotFoundError:
            continue
    return lines
