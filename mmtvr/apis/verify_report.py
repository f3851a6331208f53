"""The report about the videos of a config, as text and as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmtvr.apis.config_videos import ConfigVideos
from mmtvr.apis.video_findings import KINDS, Finding
from mmtvr.files import write_atomically

Findings = Mapping[str, Sequence[Finding]]

LEGEND = """\
missing: no such file. unreadable: by the reader of the config, also a span
behind the end. short: fewer frames than asked for. duplicate: equal content.
suspicious: look at it. Each video counts once in each column."""


def count_findings(videos: ConfigVideos, findings: Findings) -> list[dict]:
    """Count the videos of each data set that have a finding.

    Args:
        videos: What the config reads.
        findings: Path to findings.

    Returns:
        Per data set its name, sizes and a number for each kind.
    """
    rows = [
        dict(
            dataset=dataset.label,
            ann_file=dataset.ann_file,
            folder=dataset.folder,
            videos=dataset.videos,
            captions=dataset.captions,
            **dict.fromkeys(KINDS, 0),
        )
        for dataset in videos.datasets
    ]
    for path, found in findings.items():
        for number in {use.dataset for use in videos.files[path]}:
            for kind in {finding.kind for finding in found}:
                rows[number][kind] += 1
    return rows


def write_json(path: Path, videos: ConfigVideos, findings: Findings) -> None:
    """Write the report for programs, whole or not at all.

    Args:
        path: The JSON file.
        videos: What the config reads.
        findings: Path to findings.
    """
    files = {
        file: dict(
            datasets=sorted(
                {videos.datasets[use.dataset].label for use in uses}
            ),
            findings=[finding._asdict() for finding in findings[file]],
        )
        for file, uses in videos.files.items()
        if file in findings
    }
    content = dict(
        datasets=count_findings(videos, findings),
        not_checked=sorted(videos.others),
        files=files,
    )
    write_atomically(path, json.dumps(content, indent=2) + '\n')


def write_text(path: Path, videos: ConfigVideos, findings: Findings) -> str:
    """Write the report for people.

    Args:
        path: The text file.
        videos: What the config reads.
        findings: Path to findings.

    Returns:
        The first part, which sums it up.
    """
    rows = [['', 'videos', 'captions', *KINDS]]
    for row in count_findings(videos, findings):
        names = ('videos', 'captions', *KINDS)
        rows.append([row['dataset'], *(f'{row[name]:,}' for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = '\n'.join(
        '  '.join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        )
        for row in rows
    )
    parts = [table, LEGEND]
    if videos.others:
        parts.append(f'Not checked: {", ".join(sorted(videos.others))}.')
    summary = '\n\n'.join(parts)
    lines = [
        f'{kind:<10}  {file}: {finding.what}'
        for kind in KINDS
        for file, found in findings.items()
        for finding in found
        if finding.kind == kind
    ]
    write_atomically(
        path, '\n\n'.join([summary, '\n'.join(lines)]).rstrip() + '\n'
    )
    return summary
