"""How a diagnosis is shown."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from mmtvr import __version__
from mmtvr.doctor.finding import Finding, worst
from mmtvr.sanitize import for_terminal

MARKS = {'ok': '✓', 'warning': '!', 'error': '✗'}
STYLES = {'ok': 'green', 'warning': 'yellow', 'error': 'bold red'}


def to_json(findings: Sequence[Finding]) -> str:
    """Write a diagnosis for programs.

    Args:
        findings: What was found.

    Returns:
        An object with ``mmtvr`` (the version), ``status`` (the worst
        severity), ``counts`` by severity and ``findings``, each with
        ``check``, ``subject``, ``severity``, ``text`` and ``way_out``.
    """
    content = dict(
        mmtvr=__version__,
        status=worst(list(findings)),
        counts=_count(findings),
        findings=[finding.as_dict() for finding in findings],
    )
    return json.dumps(content, indent=2)


def show(findings: Iterable[Finding]) -> list[Finding]:
    """Print findings as they come, a block per check, and a summary.

    Args:
        findings: What is found.

    Returns:
        All of them.
    """
    try:
        from rich.console import Console
    except ImportError:
        return _show_plainly(findings)
    console, shown = Console(highlight=False), []
    with console.status('examining'):
        for check, group in groupby(findings, lambda each: each.check):
            block = list(group)
            console.print(_draw(check, block))
            shown += block
    style = STYLES[worst(shown)]
    console.print(f'\n[{style}]{summarize(shown)}[/]')
    return shown


def _draw(check: str, findings: Sequence[Finding]) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f'\n{check}',
        title_justify='left',
        title_style='bold',
        box=None,
        show_header=False,
        padding=(0, 1),
    )
    table.add_column(width=1)
    table.add_column(width=26, overflow='fold')
    table.add_column(overflow='fold')
    for finding in findings:
        style = STYLES[finding.severity]
        text = Text(for_terminal(finding.text))
        if finding.way_out:
            way_out = for_terminal(finding.way_out)
            text.append(f'\n→ {way_out}', style='cyan')
        mark = Text(MARKS[finding.severity], style=style)
        table.add_row(mark, Text(for_terminal(finding.subject)), text)
    return table


def _show_plainly(findings: Iterable[Finding]) -> list[Finding]:
    shown = list(findings)
    for each in shown:
        line = f'{each.severity}: {each.check}, {each.subject}: {each.text}'
        print(for_terminal(line))
        if each.way_out:
            print(for_terminal(f'    -> {each.way_out}'))
    print(summarize(shown))
    return shown


def summarize(findings: Sequence[Finding]) -> str:
    """Say in a sentence how it stands.

    Args:
        findings: What was found.

    Returns:
        The sentence.
    """
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
    return {kind: counts[kind] for kind in MARKS}
