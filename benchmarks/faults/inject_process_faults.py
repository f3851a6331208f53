r"""Break one of two processes in every way, and see how the run ends.

    python -m benchmarks.faults.inject_process_faults --repeats 3 \
        --json out.json

Two processes train on moving shapes on the CPU (gloo); process 1 then dies,
fails or stalls. All runs use one port, so a port that a run holds would fail
the next. For each fault: how many runs ended, after how many seconds, whether
the message named the right process, and what was left over.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from mmengine.config import Config
from rich.console import Console
from rich.table import Table

from benchmarks.faults.fault_kinds import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
GRACE = 60.0


class Outcome(NamedTuple):
    """How one run ended.

    Attributes:
        seconds: From the fault to the end of the last process.
        named: Whether the message was the right one.
        messages: Lines on stderr that say why the run ended.
        left: Processes that had to be killed.
        port_free: Whether nothing listened on the port at the end.
        status: Exit status of the launcher.
    """

    seconds: float
    named: bool
    messages: list[str]
    left: int
    port_free: bool
    status: int


def write_config(folder: Path, timeout: float) -> Path:
    """Write the config of all runs."""
    cfg = Config.fromfile(ROOT / 'configs/clip4clip_moving_shapes.py')
    cfg.custom_imports = dict(imports=['benchmarks.faults.process_faults'])
    cfg.custom_hooks = [dict(type='FaultHook')]
    cfg.env_cfg.dist_cfg.timeout = timeout
    cfg.train_cfg.update(max_epochs=1000, val_interval=1)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    loaders = ('train_dataloader', 48), ('val_dataloader', 16)
    for name, videos in loaders:
        cfg[name].update(batch_size=4, num_workers=1)
        cfg[name].dataset.update(
            data_root=str(folder / 'data'), num_videos=videos
        )
    cfg.train_dataloader.dataset.pipeline.insert(
        0, dict(type='FaultTransform')
    )
    path = folder / 'faulty.py'
    cfg.dump(path)
    return path


def run(
    fault: Fault, config: Path, port: int, timeout: float
) -> tuple[Outcome, str]:
    """Run once until all processes are gone."""
    mark = uuid.uuid4().hex
    log = config.parent / f'{fault.name}.err'
    launcher = start(fault, config, port, mark)
    begun = wait_for_fault(launcher, log)
    if fault.name.startswith('launcher-'):
        kind = fault.name.removeprefix('launcher-')
        launcher.send_signal(getattr(signal, f'SIG{kind}'))
    end = begun + (timeout if fault.waits else 0) + GRACE
    gone, left = wait_for_end(launcher, mark, end)
    status = launcher.wait()
    text = log.read_text()
    messages = re.findall(r'^(?:error|stopped|process|launcher).*', text, re.M)
    outcome = Outcome(
        seconds=round(gone - begun, 1),
        named=re.search(fault.message, text) is not None,
        messages=messages,
        left=left,
        port_free=not listens(port),
        status=status,
    )
    return outcome, text


def start(
    fault: Fault, config: Path, port: int, mark: str
) -> subprocess.Popen:
    """Start the two processes."""
    environment = {
        **os.environ,
        'MMTVR_FAULT': fault.name,
        'MMTVR_FAULT_RUN': mark,
        'PORT': str(port),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
    }
    command = [ROOT / 'tools/dist_train.sh', config, '2', '--work-dir']
    files = [config.parent / f'{fault.name}.{kind}' for kind in ('out', 'err')]
    with files[0].open('w') as out, files[1].open('w') as err:
        return subprocess.Popen(
            [*map(str, command), str(config.parent / 'work')],
            env=environment,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )


def wait_for_end(
    launcher: subprocess.Popen, mark: str, end: float
) -> tuple[float, int]:
    """Wait until all processes are gone, and kill those that stay."""
    while time.monotonic() < end:
        if launcher.poll() is not None and not processes_of(mark):
            break
        time.sleep(0.1)
    gone, left = time.monotonic(), processes_of(mark)
    for process in left:
        process.kill()
    return gone, len(left)


def wait_for_fault(launcher: subprocess.Popen, log: Path) -> float:
    """Wait until training is where the fault strikes."""
    while launcher.poll() is None:
        if 'reached iteration 3' in log.read_text():
            break
        time.sleep(0.05)
    return time.monotonic()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether a process listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def processes_of(mark: str) -> list[psutil.Process]:
    """All processes whose environment has the mark of a run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get('MMTVR_FAULT_RUN') == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def summarise(fault: Fault, outcomes: Sequence[Outcome]) -> dict:
    """One row of the table."""
    seconds = [each.seconds for each in outcomes]
    return dict(
        fault=fault.name,
        runs=len(outcomes),
        seconds_median=statistics.median(seconds),
        seconds_max=max(seconds),
        named=sum(each.named for each in outcomes),
        left_over=sum(each.left for each in outcomes),
        ports_held=sum(not each.port_free for each in outcomes),
        statuses=sorted({each.status for each in outcomes}),
        messages=outcomes[0].messages,
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [fault.name for fault in FAULTS]
    parser.add_argument('--faults', nargs='+', choices=names, default=names)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument(
        '--timeout', type=float, default=20, help='env_cfg.dist_cfg.timeout'
    )
    parser.add_argument('--json', type=Path, help='write all outcomes here')
    parser.add_argument(
        '--keep', type=Path, help='folder for logs (default: temporary)'
    )
    return parser.parse_args()


def main() -> None:
    """Inject all faults and print the table."""
    args = parse_args()
    port = free_port()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = write_config(folder, args.timeout)
        for fault in (each for each in FAULTS if each.name in args.faults):
            outcomes = []
            for _ in range(args.repeats):
                outcome, text = run(fault, config, port, args.timeout)
                outcomes.append(outcome)
                if not outcome.named:
                    print(text[-3000:], file=sys.stderr)
            rows.append(summarise(fault, outcomes))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    columns = [key for key in rows[0] if key != 'messages']
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[key]) for key in columns))
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == '__main__':
    main()
