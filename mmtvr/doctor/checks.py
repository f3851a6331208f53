"""The command, its checks, and the process of its own that each runs in."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib import import_module
from os.path import isdir
from pathlib import Path
from typing import NamedTuple

from mmtvr.doctor.findings import Finding, show, to_json, worst

MODULES = (
    *('numpy', 'torch', 'mmengine', 'mmcv', 'mmaction', 'transformers'),
    *('cv2', 'HanTa', 'lancedb', 'starlette'),
)
CONFIG_CHECKS = (
    *('check_data', 'check_weights', 'check_captions'),
    'check_keywords',
)
READERS = ('AutoReader', 'DecordReader', 'PyAVReader', 'TorchCodecReader')
# Before the findings; libraries print what they like to the same output.
MARK = '\n@@findings@@'
MAX_PROCESSES = 3
# The address of Milvus Lite begins with it.
LITE = 'milvus:'

EPILOG = """
examples:
  mmtvr doctor
  mmtvr doctor tpmcl_msrvtt                       # its data and weights too
  mmtvr doctor work_dirs/shapes_index             # an index, nothing else

Exit status: 1 if there is an error, 0 otherwise, also with warnings.
"""


class Check(NamedTuple):
    """A function that examines one thing.

    Attributes:
        name: Its name in the report.
        function: ``module:function`` below ``mmtvr.doctor``; it returns a
            list of :class:`~mmtvr.doctor.findings.Finding`.
        arguments: Its arguments, texts.
        seconds: How long it may take.
    """

    name: str
    function: str
    arguments: tuple[str, ...] = ()
    seconds: float = 60.0


def list_checks(config: str | None) -> list[Check]:
    """All checks in the order of the report, those of a config last."""
    checks = [
        Check('environment', 'environment:describe_environment'),
        Check('versions', 'environment:check_versions'),
        Check('breakages', 'environment:check_breakages'),
        *(Check('imports', 'environment:check_import', (m,)) for m in MODULES),
        *(Check('decoders', 'decoders:check_reader', (r,)) for r in READERS),
        Check('devices', 'machine:check_devices'),
        Check('two processes', 'machine:check_two_processes', (), 90),
        Check('machine', 'machine:check_machine'),
    ]
    if config is not None:
        checks += [
            Check('config', f'config:{name}', (config,), 300)
            for name in CONFIG_CHECKS
        ]
    return checks


def is_index(subject: str) -> bool:
    """Whether it names an index, not a config or the work folder of one."""
    if isdir(subject):
        return not any(Path(subject).glob('*.py'))
    return '://' in subject or subject.startswith(LITE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print what was found.

    Args:
        arguments: The command line without the program; ``sys.argv`` if None.

    Returns:
        The exit status: 1 if there is an error, else 0, also with warnings.
    """
    parser = argparse.ArgumentParser(
        prog='mmtvr doctor',
        description='Find out why this machine cannot train or search, or '
        'whether an\nindex is damaged.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'subject',
        nargs='?',
        metavar='CONFIG_OR_INDEX',
        help='examine the data and the weights of this config too; or examine '
        'this index, a folder or an address, and nothing else',
    )
    parser.add_argument(
        '--json', action='store_true', help='print JSON, for programs'
    )
    options = parser.parse_args(arguments)
    if options.subject and is_index(options.subject):
        check = Check('index', 'index:check_index', (options.subject,), 3600)
        findings = run_checks([check])
    else:
        findings = run_checks(list_checks(options.subject))
    if options.json:
        found = list(findings)
        print(to_json(found))
    else:
        found = show(findings)
    return 1 if worst(found) == 'error' else 0


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """Run checks, a few at a time; yield findings in their order."""
    with ThreadPoolExecutor(MAX_PROCESSES) as pool:
        for findings in pool.map(run_check, checks):
            yield from findings


def run_check(check: Check) -> list[Finding]:
    """Run one check in a process of its own.

    Returns:
        Its findings; one error if it crashed, hung or could not start.
    """
    program = 'from mmtvr.doctor.checks import answer; answer()'
    command = [sys.executable, '-c', program, check.name, check.function]
    root = str(Path(__file__).resolve().parents[2])
    # Last: of an installed mmtvr it is site-packages, which is not to hide
    # what the user's own path has.
    paths = [*filter(None, [os.environ.get('PYTHONPATH')]), root]
    subject = check.arguments[0] if check.arguments else check.name
    try:
        done = subprocess.run(
            [*command, *check.arguments],
            capture_output=True,
            text=True,
            errors='replace',
            timeout=check.seconds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired:
        text = f'no answer within {check.seconds:.0f} s'
        return [Finding(check.name, subject, 'error', text)]
    _, found, findings = done.stdout.rpartition(MARK)
    if found:
        return [Finding(**fields) for fields in json.loads(findings)]
    text = f'ended with status {done.returncode}: {_last_line(done.stderr)}'
    return [Finding(check.name, subject, 'error', text)]


def answer(arguments: Sequence[str] | None = None) -> None:
    """Run a check in this process and print its findings as JSON.

    Args:
        arguments: Name, function and arguments of a :class:`Check`;
            ``sys.argv`` if None.
    """
    name, function, *arguments = arguments or sys.argv[1:]
    module, _, attribute = function.partition(':')
    try:
        check = getattr(import_module(f'mmtvr.doctor.{module}'), attribute)
        findings = check(*arguments)
    except Exception as error:
        subject = arguments[0] if arguments else name
        text = f'{type(error).__name__}: {_last_line(str(error))}'
        findings = [Finding(name, subject, 'error', text)]
    print(MARK + json.dumps([asdict(finding) for finding in findings]))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'no message'
