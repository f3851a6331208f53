"""What a check found, and how a report of all findings is shown."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mmtvr import __version__
from mmtvr.sanitize import for_terminal

Severity = Literal['ok', 'warning', 'error']
SEVERITIES: tuple[Severity, ...] = ('ok', 'warning', 'error')
MARKS = {'ok': '✓', 'warning': '!', 'error': '✗'}
COLORS = {'ok': '32', 'warning': '33', 'error': '1;31'}


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Attributes:
        check: Which check found it: ``versions``, ``decoders``, ...
        subject: What was examined: a package, a folder, a device.
        severity: ``ok``; ``warning``: something will be slower, missing or
            different; ``error``: mmtvr, or the given config, cannot run.
        text: What was found.
        fix: A command or a setting; empty where nothing needs fixing.
    """

    check: str
    subject: str
    severity: Severity
    text: str
    fix: str = ''


def worst(findings: Iterable[Finding]) -> Severity:
    """The worst severity; ``'ok'`` without any finding."""
    ranks = [SEVERITIES.index(finding.severity) for finding in findings]
    return SEVERITIES[max(ranks, default=0)]


def to_json(findings: Sequence[Finding]) -> str:
    """Write a report for programs.

    Returns:
        An object with ``mmtvr`` (the version), ``status`` (the worst
        severity), ``counts`` by severity and ``findings``. ``way_out`` is the
        old name of ``fix``, kept for one release.
    """
    content: dict[str, Any] = dict(
        mmtvr=__version__,
        status=worst(findings),
        counts=_count(findings),
        findings=[{**asdict(each), 'way_out': each.fix} for each in findings],
    )
    return json.dumps(content, indent=2)


def show(findings: Iterable[Finding]) -> list[Finding]:
    """Print findings as they come, a block per check, and a summary.

    Plain text: it has to work where packages are broken.
    """
    shown, check = [], None
    for finding in findings:
        if finding.check != check:
            check = finding.check
            print(f'\n{check}')
        mark = _color(finding.severity, MARKS[finding.severity])
        subject = for_terminal(f'{finding.subject:<26}')
        print(f' {mark} {subject} {for_terminal(finding.text)}', flush=True)
        if finding.fix:
            print(f'{"":30}→ {for_terminal(finding.fix)}', flush=True)
        shown.append(finding)
    print(f'\n{_color(worst(shown), summarize(shown))}')
    return shown


def _color(severity: Severity, text: str) -> str:
    if not sys.stdout.isatty() or os.environ.get('NO_COLOR'):
        return text
    return f'\033[{COLORS[severity]}m{text}\033[0m'


def summarize(findings: Iterable[Finding]) -> str:
    """Count errors, warnings and what is fine in a sentence."""
    counts = _count(findings)
    parts = [
        f'{counts[kind]} {kind}{"s" if counts[kind] > 1 else ""}'
        for kind in ('error', 'warning')
        if counts[kind]
    ]
    good = f'{counts["ok"]} fine'
    return ', '.join([*parts, good]) if parts else f'all well: {good}'


def _count(findings: Iterable[Finding]) -> dict[str, int]:
    counts = Counter(finding.severity for finding in findings)
    return {kind: counts[kind] for kind in SEVERITIES}
