"""End a run when one of its ranks dies, hangs or fails, and say which.

torchrun sees when a process exits, and a collective of gloo or nccl fails
some time after another rank no longer takes part in it. Neither says which
rank hangs, nor what it was doing. So two threads per rank share one report a
second through the store of the run: one exchanges reports, and may get stuck
where a connection is cut; the other judges by them, and ends this rank.
"""

import faulthandler
import itertools
import json
import multiprocessing
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import psutil
from torch import distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from mmtvr.distributed.phase import STARTING, phase
from mmtvr.errors import SetupError

# Set by mmtvr.distributed.torchrun, which prints what a rank has recorded.
LAUNCHER = 'MMTVR_LAUNCHER'
# A rank without a report for so many seconds is gone, once it is known that
# some rank is.
SILENCE = 3.0
FAILURE = 'failure'
RESUME = (
    '  all ranks were stopped; tools/train.py --resume goes on from the last '
    'checkpoint'
)
OTHERS_SHOWN = 3
FRAMES_SHOWN = 3
# Where the main thread stands while it waits for other ranks; the sums of
# gradients are waited for inside of backward.
WAITING = (
    'torch/distributed/',
    'torch/autograd/graph.py',
    'mmtvr/distributed/gather.py',
)


class Report(NamedTuple):
    """A rank as it last described itself.

    Attributes:
        beat: Counts up with every report.
        ended: Whether it has finished, or was stopped.
        idle: Seconds in its phase.
        where: Innermost frames of its main thread.
        waiting: Whether it waits there for other ranks.
        silent: Seconds without a new report, filled in by who reads it.
    """

    rank: int
    host: str
    pid: int
    beat: int = 0
    ended: bool = False
    phase: str = STARTING
    phase_file: str = ''
    step: int = 0
    limit: float = 1.0
    idle: float = 0.0
    where: str = ''
    waiting: bool = False
    silent: float = 0.0

    def __str__(self) -> str:
        return f'rank {self.rank} (host {self.host}, pid {self.pid})'


class Diagnosis(NamedTuple):
    """Why a run cannot go on."""

    failed_ranks: Sequence[int]
    message: str


def diagnose(
    reports: Sequence[Report], timeout: float, silence: float | None = None
) -> Diagnosis | None:
    """Find the ranks that keep a run from going on; None while it does.

    A rank that waits for others is not at fault while one of them makes
    progress. Where none does, those are that do not wait, and among them the
    ones that are furthest behind.

    Args:
        reports: Of all ranks.
        timeout: Seconds that a rank may be silent or in a phase, times the
            limit of the phase.
        silence: Seconds after which a silent rank is gone, if not the same.
    """
    running = [each for each in reports if not each.ended]
    failed = [r for r in running if r.silent > (silence or timeout * r.limit)]
    stands_still = running and all(
        r.idle + r.silent > timeout * r.limit for r in running
    )
    if stands_still and not failed:
        # A rank that was lost while it waited stood still before it fell
        # silent.
        failed = [r for r in running if r.silent > timeout * r.limit / 2]
    if failed:
        seconds = max(r.silent for r in failed)
        what = f'gave no sign of life for {seconds:.0f} s'
    elif stands_still:
        suspects = [r for r in running if not r.waiting] or running
        behind = min(r.step for r in suspects)
        failed = [r for r in suspects if r.step == behind]
        seconds = min(r.idle + r.silent for r in failed)
        what = f'made no progress for {seconds:.0f} s'
    else:
        return None
    others = [r for r in running if r not in failed][:OTHERS_SHOWN]
    lines = [f'{" and ".join(map(str, failed))} {what}']
    lines += [
        f'  rank {r.rank} was {r.phase}' + (f', at {r.where}' * bool(r.where))
        for r in (*failed, *others)
    ]
    return Diagnosis([r.rank for r in failed], '\n'.join(lines))


class Monitor:
    """Exchange reports with the other ranks, and end this one with them.

    Args:
        store: A connection of its own, as a request blocks all others.
        timeout: Seconds that any rank may be silent or without progress.
        launcher: Parent process with which the run ends, if there is one.
    """

    current: 'Monitor | None' = None

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        world_size: int,
        timeout: float,
        launcher: int | None = None,
    ) -> None:
        self.store = dist.PrefixStore('mmtvr', store)
        self.rank, self.timeout, self.launcher = rank, timeout, launcher
        self.keys = [f'rank {each}' for each in range(world_size)]
        self.interval = min(1.0, timeout / 10)
        self.silence: float | None = None
        self.ended = threading.Event()
        self.own = Report(rank, socket.gethostname(), os.getpid())
        self.reports: list[Report] = []
        self.seen = dict.fromkeys(range(world_size), (0, time.monotonic()))
        self.exchanged = time.monotonic()

    def start(self) -> None:
        """Wait for all ranks, and begin to watch them.

        Raises:
            SetupError: Some do not start within the timeout; names them.
        """
        self._post()
        deadline = time.monotonic() + self.timeout
        while missing := [k for k in self.keys if not self.store.check([k])]:
            if time.monotonic() > deadline:
                raise SetupError(
                    f'{len(missing)} of {len(self.keys)} ranks did not start '
                    f'within {self.timeout:g} s (env_cfg.dist_cfg.timeout): '
                    f'{", ".join(missing)}'
                )
            time.sleep(0.05)
        Monitor.current = self
        self.exchanged = time.monotonic()
        self.threads = [
            threading.Thread(target=each, daemon=True)
            for each in (self._exchange, self._watch)
        ]
        for thread in self.threads:
            thread.start()

    def finish(self) -> None:
        """Report to the others that this rank has ended, and stop watching."""
        self.ended.set()
        self.threads[0].join(SILENCE)

    def suspect(self) -> None:
        """Give the threads time to find the rank behind a failed collective.

        They end this process where they find one.
        """
        self.silence = SILENCE
        time.sleep(SILENCE + 3 * self.interval)

    def first(self, message: str) -> str:
        """Publish why the run ends; returns what the first rank said."""
        if self._lost_for() > SILENCE:
            return message
        try:
            said = self.store.compare_set(FAILURE, '', message).decode()
        except RuntimeError:
            return message
        if os.environ.get('LOCAL_WORLD_SIZE') != os.environ.get('WORLD_SIZE'):
            # The store may end with this host; others are to read it first.
            time.sleep(2 * self.interval)
        return said

    def _post(self) -> None:
        where, waiting = _main_thread_place()
        self.own = self.own._replace(
            beat=self.own.beat + 1,
            ended=self.ended.is_set(),
            phase=phase.name,
            phase_file=phase.path,
            step=phase.step,
            limit=phase.limit,
            idle=time.monotonic() - phase.since,
            where=where,
            waiting=waiting,
        )
        self.store.set(self.keys[self.rank], json.dumps(self.own))

    def _exchange(self) -> None:
        is_last = False
        while not is_last:
            is_last = self.ended.is_set()
            try:
                self._post()
                if self.store.check([FAILURE]) and not is_last:
                    exit_rank(self.store.get(FAILURE).decode())
                texts = self.store.multi_get(self.keys)
            except dist.DistNetworkError:
                # It is closed for good, and each request would log a stack.
                return
            except RuntimeError:
                pass
            else:
                self.reports = [Report(*json.loads(each)) for each in texts]
                self.exchanged = now = time.monotonic()
                for report in self.reports:
                    if self.seen[report.rank][0] != report.beat:
                        self.seen[report.rank] = report.beat, now
            self.ended.wait(self.interval)

    def _lost_for(self) -> float:
        return time.monotonic() - self.exchanged - self.interval

    def _watch(self) -> None:
        while not self.ended.wait(self.interval):
            # Ends a rank whose main thread keeps the interpreter's lock where
            # no other rank of its host is there to do so.
            faulthandler.dump_traceback_later(
                2 * self.timeout * phase.limit, exit=True
            )
            if self.launcher not in (None, os.getppid()):
                os.environ.pop(LAUNCHER, None)
                is_first = os.environ['LOCAL_RANK'] == '0'
                exit_rank(f'the launcher has died\n{RESUME}', is_first)
            lost = self._lost_for()
            if lost > (self.silence or self.timeout * phase.limit):
                exit_rank(
                    f'{self.own} has lost the connection to '
                    f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
                    f' for {lost:.0f} s\n  it was {phase.name}\n{RESUME}'
                )
            reports = [self._update(each) for each in self.reports]
            found = diagnose(reports, self.timeout, self.silence)
            if found is not None:
                said = self.first(f'{found.message}\n{RESUME}')
                lost = [r for r in reports if r.rank in found.failed_ranks]
                exit_rank(said, kill=filter(None, map(self._sibling, lost)))

    def _update(self, report: Report) -> Report:
        # While there is no connection, nobody is heard of.
        silent = self.exchanged - self.seen[report.rank][1]
        name = report.phase
        if report.phase_file and report.host == self.own.host:
            with suppress(OSError):
                name = Path(report.phase_file).read_text().strip()
        return report._replace(silent=silent, phase=name)

    def _sibling(self, report: Report) -> psutil.Process | None:
        """Return a silent rank of the same launcher.

        It may not react to SIGTERM, and torchrun (2.13) waits 30 s for that.
        """
        with suppress(psutil.Error):
            process = psutil.Process(report.pid)
            here = report.host == self.own.host and report.silent > SILENCE
            if here and process.ppid() == self.launcher:
                return process
        return None


def exit_failed(error: BaseException, message: str | None = None) -> None:
    """End this rank with an error of its main thread, and with it the run.

    Returns where no monitor watches over the run.

    Args:
        error: What was raised.
        message: Published as it is; if None, the error is unexpected, and is
            printed with its traceback unless another rank is behind it.
    """
    monitor = Monitor.current
    if monitor is None:
        return
    if isinstance(error, KeyboardInterrupt):
        monitor.finish()
        exit_rank(status=130)
    text = str(error).strip()
    if message is None:
        is_of_collective = isinstance(error, dist.DistError) or (
            isinstance(error, RuntimeError)
            and any(name in text.lower() for name in ('gloo', 'nccl'))
        )
        if is_of_collective:
            monitor.suspect()
        traceback.print_exception(error)
        kind = f'{type(error).__name__}: {text.partition(chr(10))[0]}'
        message = f'{monitor.own} failed {phase.name}: {kind}\n{RESUME}'
    said = monitor.first(message)
    exit_rank(said, said == message)


def exit_done() -> None:
    """End this rank, which is done, without the interpreter's own end.

    Threads of gloo outlive ``destroy_process_group``. One that lets go of a
    tensor while the interpreter ends aborts the process, and the launcher
    then takes a finished run for a failed one.
    """
    if not dist.is_initialized():
        return
    # The destructor joins a thread while it holds the lock of the interpreter,
    # for which that thread may wait to let go of a tensor (PyTorch 2.7).
    group = dist.group.WORLD  # noqa: F841
    dist.destroy_process_group()
    if Monitor.current:
        Monitor.current.finish()
    exit_rank(status=0)


_exiting = threading.Lock()


def exit_rank(
    message: str = '',
    is_first: bool = True,
    status: int = 1,
    kill: Iterable[psutil.Process] = (),
) -> NoReturn:
    """End this process and its loading workers, from any thread."""
    _exiting.acquire()
    try:
        if message:
            publish(message, is_first)
        for process in kill:
            with suppress(psutil.Error):
                process.kill()
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def publish(message: str, is_first: bool = True) -> None:
    """Hand a message to the launcher, or print it where there is none."""
    get_error_handler().record_exception(SetupError(message))
    if is_first and LAUNCHER not in os.environ:
        print(f'error: {message}', file=sys.stderr, flush=True)


def _main_thread_place() -> tuple[str, bool]:
    """Innermost frames of the main thread; whether it waits for ranks."""
    main = sys._current_frames()[threading.main_thread().ident]
    stack = list(itertools.islice(traceback.walk_stack(main), FRAMES_SHOWN))
    innermost = Path(stack[0][0].f_code.co_filename).as_posix()
    places = [
        f'{"/".join(Path(frame.f_code.co_filename).parts[-2:])}:{line} '
        f'{frame.f_code.co_name}'
        for frame, line in stack
    ]
    waiting = any(place in innermost for place in WAITING)
    return ' < '.join(places), waiting
