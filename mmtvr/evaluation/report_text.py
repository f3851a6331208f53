"""A report as text."""

from mmtvr.evaluation.report_parts import (
    DirectionReport,
    Report,
    ReportRow,
)

NAMES = {
    'R1': 'R@1',
    'R5': 'R@5',
    'R10': 'R@10',
    'R50': 'R@50',
    'MdR': 'MdR',
    'MnR': 'MnR',
    'mAP': 'mAP',
    'NDCG10': 'NDCG@10',
}
TITLES = {'t2v': 'text to video', 'v2t': 'video to text'}
CELL = 13


def to_text(report: Report) -> str:
    """Write a report in columns.

    Args:
        report: The report.

    Returns:
        Lines of text: the facts, then per row and direction a line of values
        and one of their 95 % intervals.
    """
    width = max([len(name) for name in report.about], default=0)
    lines = [
        f'{name:<{width}}  {value}' for name, value in report.about.items()
    ]
    lines += [
        '',
        ' ' * CELL + ''.join(f'{name:>{CELL}}' for name in NAMES.values()),
    ]
    for row in report.rows:
        lines += ['', _head(row)]
        for direction, title in TITLES.items():
            lines += _direction(title, getattr(row, direction))
    lines += [
        '',
        f'Ties: {report.ties}. In brackets 95 % bootstrap intervals.',
    ]
    return '\n'.join(lines) + '\n'


def _head(row: ReportRow) -> str:
    needs = 'yes' if row.needs_all_queries else 'no'
    return (
        f'{row.label}   RSum {row.RSum:.1f}   '
        f'needs all test queries at once: {needs}'
    )


def _direction(title: str, report: DirectionReport) -> list[str]:
    lines = [_values(title, report.measures)]
    intervals = [
        '[{:.1f}, {:.1f}]'.format(*report.intervals[name]) for name in NAMES
    ]
    lines.append(' ' * CELL + ''.join(f'{x:>{CELL}}' for x in intervals))
    facts = (
        f'{report.queries:,} queries, {report.items:,} items, '
        f'{report.tie_share:.1%} of the queries tie'
    )
    lines += [f'  {facts}'] if not report.policies else [f'  {facts}:']
    lines += [
        _values(f'  {policy}', measures)
        for policy, measures in report.policies.items()
    ]
    return lines


def _values(title: str, measures: dict[str, float]) -> str:
    cells = [
        f'{measures[name]:.2f}' if name in measures else '' for name in NAMES
    ]
    return f'{title:<{CELL}}' + ''.join(f'{x:>{CELL}}' for x in cells)
