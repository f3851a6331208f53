r"""List the project files that a command runs, and those it only imports.

A file is *executed* once the body of one of its functions or methods runs, and
*imported* once its module-level code runs. Every Python process that the
command starts is traced, by fork or by exec; the main process is also counted
on its own.

Run it in the root of a checkout, whose packages take precedence over installed
ones; ``--root`` names another checkout. What follows ``--`` are the arguments
of ``python``.

One training step, loading the data in the main process::

    python -m benchmarks.trace_files --until-step 2 -- \
        tools/train.py configs/tpmcl_moving_shapes.py --work-dir /tmp/trace \
        --cfg-options train_dataloader.num_workers=0 \
        train_dataloader.persistent_workers=False

The command is stopped after the second optimizer step. Up to the first step
everything counts from the start of the process on; between the first and the
second, only what every step does.

One text query::

    python -m benchmarks.trace_files -- \
        -m mmtvr search work_dirs/shapes_index "a red circle rising"
"""

import argparse
import inspect
import json
import mmap
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

# Environment variables: arguments of the Tracer, which subprocesses inherit,
# and a mark of the main process, which removes it.
SETTINGS = 'TRACE_FILES_SETTINGS'
MAIN = 'TRACE_FILES_MAIN'
SITECUSTOMIZE = f"""\
import importlib.util

spec = importlib.util.spec_from_file_location('trace_files', {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.start_tracing()
"""
# Python 3.12 inlines comprehensions, so they count in no version, and a module
# with one at its top level is only imported.
COMPREHENSIONS = {'<listcomp>', '<setcomp>', '<dictcomp>', '<genexpr>'}
MAX_STEPS = 255


class Tracer:
    """Trace function that logs each project file once per training step.

    Every event is appended to the log in a single write, so that processes
    can share the file, and nothing is lost when one of them is killed.

    Args:
        log: Path of the log, one JSON array per line.
        steps: Path of a file of one byte, the number of optimizer steps that
            are completed. All processes map it.
        folders: Absolute paths of the folders whose files are logged.
        root: Logged paths are relative to it.
        until_step: Log nothing after this many optimizer steps; 0 for no
            limit.
    """

    def __init__(
        self,
        log: str,
        steps: str,
        folders: list[str],
        root: str,
        until_step: int,
    ) -> None:
        self.is_main = os.environ.pop(MAIN, None) is not None
        self.until_step = until_step
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND)
        with open(steps, 'r+b') as file:
            self._steps = mmap.mmap(file.fileno(), 1)
        self._prefixes = tuple(os.path.join(name, '') for name in folders)
        self._root = root
        # Path of a code object -> path in the project, or '' outside it.
        self._paths: dict[str, str] = {}
        self._logged: dict[str, int] = {}
        os.register_at_fork(after_in_child=self._after_fork)

    def start(self) -> None:
        """Trace this thread, and all threads that start from now on."""
        threading.settrace(self)
        sys.settrace(self)

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        """Log the file of a function or module that begins to run."""
        code, step = frame.f_code, self._steps[0]
        path = self._paths.get(code.co_filename)
        if path is None:
            path = self._find_path(code.co_filename)
        if not path or self._logged.get(path) == step:
            return
        if self.until_step and step >= self.until_step:
            return
        if code.co_name == '<module>':
            self._write('imported', path, step)
        elif _is_function(code):
            self._logged[path] = step
            self._write('executed', path, step)

    def complete_step(self, *_: object) -> None:
        """Count an optimizer step, and end the process after the last."""
        self._steps[0] += 1
        if self._steps[0] == self.until_step:
            for child in multiprocessing.active_children():
                child.terminate()
            os._exit(0)

    def _find_path(self, filename: str) -> str:
        path = os.path.realpath(filename)
        is_ours = path.startswith(self._prefixes)
        path = os.path.relpath(path, self._root) if is_ours else ''
        self._paths[filename] = path
        return path

    def _write(self, what: str, path: str, step: int) -> None:
        line = json.dumps([what, path, step, self.is_main]) + '\n'
        os.write(self._log, line.encode())

    def _after_fork(self) -> None:
        self.is_main = False
        self._logged.clear()


def _is_function(code: CodeType) -> bool:
    # Bodies of modules and classes are not optimized.
    is_optimized = bool(code.co_flags & inspect.CO_OPTIMIZED)
    return is_optimized and code.co_name not in COMPREHENSIONS


def start_tracing() -> None:
    """Trace this process, as the environment says."""
    tracer = Tracer(**json.loads(os.environ[SETTINGS]))
    if tracer.is_main and tracer.until_step:
        # Before tracing, which would slow down the import of torch.
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(tracer.complete_step)
    tracer.start()


def trace(
    command: list[str], root: Path, folders: list[str], until_step: int
) -> list[tuple[str, str, int, bool]]:
    """Run a command and collect what all of its processes logged.

    Args:
        command: Arguments of ``python``.
        root: Root of the checkout, the working directory of the command.
        folders: Folders below ``root`` whose files are counted.
        until_step: Stop after this many optimizer steps; 0 to run to the end.

    Returns:
        ``(what, path, step, is_main)``: ``what`` is ``'executed'`` or
        ``'imported'``, ``step`` the number of optimizer steps before it.

    Raises:
        RuntimeError: The command failed, or ended before its last step.
    """
    root = root.resolve()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        log, steps = scratch / 'log', scratch / 'steps'
        log.touch()
        steps.write_bytes(bytes(1))
        (scratch / 'sitecustomize.py').write_text(SITECUSTOMIZE)
        settings = dict(
            log=str(log),
            steps=str(steps),
            folders=[str(root / folder) for folder in folders],
            root=str(root),
            until_step=until_step,
        )
        paths = [str(scratch), str(root), os.environ.get('PYTHONPATH', '')]
        environment = {
            **os.environ,
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
            SETTINGS: json.dumps(settings),
            MAIN: '1',
        }
        process = subprocess.run(
            [sys.executable, *command], cwd=root, env=environment
        )
        if process.returncode:
            raise RuntimeError(f'the command exited with {process.returncode}')
        completed = steps.read_bytes()[0]
        if completed < until_step:
            raise RuntimeError(
                f'the command ended after {completed} optimizer steps, '
                f'expected {until_step}'
            )
        lines = log.read_text(encoding='utf-8').splitlines()
        return [tuple(json.loads(line)) for line in lines]


def summarize(
    events: list[tuple[str, str, int, bool]],
) -> list[dict[str, object]]:
    """Sort events into the intervals between optimizer steps.

    Args:
        events: From :func:`trace`.

    Returns:
        One dict per interval: ``after_step``, and sorted paths of files that
        were ``executed`` and ``imported``, each by the main process and by
        any process.
    """
    found: dict[tuple, set[str]] = defaultdict(set)
    for what, path, step, is_main in events:
        found[what, step, 'all'].add(path)
        if is_main:
            found[what, step, 'main'].add(path)
    return [
        dict(
            after_step=step,
            **{
                f'{what}_{who}': sorted(found[what, step, who])
                for what in ('executed', 'imported')
                for who in ('main', 'all')
            },
        )
        for step in sorted({step for _, _, step, _ in events})
    ]


def print_summary(intervals: list[dict[str, object]], until_step: int) -> None:
    """Print counts and paths.

    Args:
        intervals: From :func:`summarize`.
        until_step: Where tracing stopped; 0 for the end of the command.
    """
    for interval in intervals:
        step = interval['after_step']
        begin = f'step {step}' if step else 'start'
        end = f'step {step + 1}' if until_step else 'end'
        print(f'\nFrom {begin} to {end}:')
        for what in ('executed', 'imported'):
            main, every = (
                len(interval[f'{what}_{who}']) for who in ('main', 'all')
            )
            print(
                f'  {main} files {what} in the main process, '
                f'{every} in all processes'
            )
        main = set(interval['executed_main'])
        for path in interval['executed_all']:
            print(f'    {path}' + ('' if path in main else '  (child)'))


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--until-step',
        type=int,
        default=0,
        metavar='N',
        help=f'stop after N optimizer steps, at most {MAX_STEPS} '
        '(default: run to the end)',
    )
    parser.add_argument(
        '--root',
        type=Path,
        default=Path(),
        help='root of the checkout (default: the working directory)',
    )
    parser.add_argument(
        '--folders',
        nargs='+',
        default=['mmtvr', 'tools'],
        help='folders whose files are counted (default: mmtvr tools)',
    )
    parser.add_argument('--out', type=Path, help='write the result as JSON')
    parser.add_argument(
        'command',
        nargs='+',
        metavar='-- ARGUMENT',
        help='arguments of python: a script or -m MODULE, and its arguments',
    )
    args = parser.parse_args(arguments)
    if not 0 <= args.until_step <= MAX_STEPS:
        parser.error(
            f'--until-step must be 0 to {MAX_STEPS}, got {args.until_step}'
        )
    return args


def main() -> None:
    """Trace the command and report the files."""
    args = parse_args()
    events = trace(args.command, args.root, args.folders, args.until_step)
    intervals = summarize(events)
    print_summary(intervals, args.until_step)
    if args.out is not None:
        text = json.dumps(dict(command=args.command, intervals=intervals))
        args.out.write_text(text + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
