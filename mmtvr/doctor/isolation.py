"""Run a check in a process of its own, which may crash, hang or be broken."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from mmtvr.doctor.checks import Check
from mmtvr.doctor.finding import Finding

# Behind it stand the findings; libraries print what they like before.
MARK = '\n@@findings@@'
AT_ONCE = 3


def run_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """Run checks, a few at a time.

    Args:
        checks: The checks.

    Yields:
        Their findings in the order of the checks.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for findings in pool.map(run_check, checks):
            yield from findings


def run_check(check: Check) -> list[Finding]:
    """Run one check in a process of its own.

    Args:
        check: The check.

    Returns:
        Its findings; one error if it crashed, hung or could not start.
    """
    command = [sys.executable, '-m', 'mmtvr.doctor.isolation']
    command += [check.name, check.function, *check.arguments]
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get('PYTHONPATH')])]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}
    subject = check.arguments[0] if check.arguments else check.name
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors='replace',
            timeout=check.seconds,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        text = f'no answer within {check.seconds:.0f} s'
        return [Finding(check.name, subject, 'error', text)]
    _, found, answer = done.stdout.rpartition(MARK)
    if found:
        return [Finding(**fields) for fields in json.loads(answer)]
    text = f'ended with status {done.returncode}: {_last_line(done.stderr)}'
    return [Finding(check.name, subject, 'error', text)]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else 'nothing was said'


def answer(name: str, function: str, arguments: Sequence[str]) -> str:
    """Run a check here and write down what it found.

    Args:
        name: What the report calls it.
        function: See :class:`~mmtvr.doctor.checks.Check`.
        arguments: Its arguments.

    Returns:
        JSON.
    """
    module, _, attribute = function.partition(':')
    try:
        check = getattr(import_module(f'mmtvr.doctor.{module}'), attribute)
        findings = check(*arguments)
    except Exception as error:
        subject = arguments[0] if arguments else name
        text = f'{type(error).__name__}: {_last_line(str(error))}'
        findings = [Finding(name, subject, 'error', text)]
    return json.dumps([finding.as_dict() for finding in findings])


if __name__ == '__main__':
    print(MARK + answer(sys.argv[1], sys.argv[2], sys.argv[3:]))
