"""The command behind ``tools/data/verify.py``."""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from mmengine.config import DictAction
from tqdm import tqdm

import mmtvr
from mmtvr.apis.config_videos import ConfigVideos, find_config_videos
from mmtvr.apis.duplicate_files import find_duplicates, share_size
from mmtvr.apis.verify_report import write_json, write_text
from mmtvr.apis.video_findings import KINDS, Finding, examine_file
from mmtvr.config.reading import load_config
from mmtvr.datasets.video_check import CheckedFiles, work_side_by_side
from mmtvr.errors import SetupError
from mmtvr.video.cache import decoder_versions

EXIT_FOUND = 1


def verify_config(options: argparse.Namespace) -> bool:
    """Look at every video of a config and write a report.

    Args:
        options: See :func:`parse_args`.

    Returns:
        Whether nothing was found but what ``ignore`` names.

    Raises:
        SetupError: If the config or an annotation file cannot be used, or
            the report cannot be written.
    """
    cfg = load_config(options.config, options.cfg_options)
    base = options.report or Path(cfg.work_dir, 'verify')
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        journal = CheckedFiles(base.with_name(base.name + '.sqlite'))
    except OSError as error:
        raise SetupError(
            f'the report {base} cannot be written: {error}; choose another '
            'place with --report'
        ) from error
    videos = find_config_videos(cfg)
    if options.anew:
        journal.forget()
    results = examine(videos, journal, options.workers, options.time_limit)
    findings = judge(videos, results)
    journal.close()
    write_json(base.with_name(base.name + '.json'), videos, findings)
    text = base.with_name(base.name + '.txt')
    print(write_text(text, videos, findings))
    print(f'\n{len(findings):,} of {len(videos.files):,} files: see {text}')
    return not any(
        finding.kind not in options.ignore
        for found in findings.values()
        for finding in found
    )


def examine(
    videos: ConfigVideos,
    journal: CheckedFiles,
    workers: int | None,
    time_limit: float,
) -> dict[str, dict]:
    """Examine every file, or look up what is known of it.

    Args:
        videos: What the config reads.
        journal: What is known; each result is added as soon as it is there.
        workers: Number of helper processes; None: one for each core.
        time_limit: Seconds for each look at a file.

    Returns:
        Path to the result of :func:`examine_file`.
    """
    loaders = [dataset.loader for dataset in videos.datasets]
    hash_these = share_size(videos.files)
    results, jobs, hows = {}, [], {}
    for path in videos.files:
        hows[path] = _describe(videos, path, path in hash_these)
        known = journal.get(path, hows[path])
        if known is None:
            jobs.append(path)
        else:
            results[path] = json.loads(known[0])
    work = work_side_by_side(
        lambda path: examine_file(
            path, videos.files[path], loaders, path in hash_these, time_limit
        ),
        jobs,
        workers,
    )
    bar = partial(tqdm, total=len(videos.files), initial=len(results))
    for place, result in bar(work, desc='videos', mininterval=1):
        path = jobs[place]
        journal.put(path, hows[path], json.dumps(result))
        results[path] = result
    return results


def judge(
    videos: ConfigVideos, results: Mapping[str, dict]
) -> dict[str, list[Finding]]:
    """Put what was found together.

    Args:
        videos: What the config reads.
        results: See :func:`examine`.

    Returns:
        Findings of each file that has any, in the order of the config.
    """
    digests = {
        path: result['digest']
        for path, result in results.items()
        if result['digest']
    }
    duplicates = find_duplicates(videos, digests)
    findings = {
        path: [
            *(Finding(*each) for each in results[path]['findings']),
            *duplicates.get(path, ()),
        ]
        for path in videos.files
    }
    return {path: found for path, found in findings.items() if found}


def _describe(videos: ConfigVideos, path: str, with_digest: bool) -> str:
    uses = sorted(
        f'{videos.datasets[use.dataset].loader!r} {use.sample}'
        for use in videos.files[path]
    )
    versions = f'{mmtvr.__version__} {decoder_versions()}'
    digest = 'blake2b' if with_digest else ''
    return f'{versions} {digest} {" ".join(uses)}'


def parse_args(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: Its words; ``sys.argv`` if None.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description='Find the videos of a config that are missing, '
        'unreadable, too short, duplicated or suspicious. Stopped at any '
        'time, it goes on where it was. Exit status 1: something was found '
        'that is not ignored, or the command could not be run.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--ignore',
        nargs='+',
        choices=KINDS,
        default=[],
        metavar='KIND',
        help=f'report, but do not fail for: {", ".join(KINDS[2:])}',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings: test_dataloader.dataset.data_root=DIR',
    )
    add_examination(parser)
    return parser.parse_args(arguments)


def add_examination(parser: argparse.ArgumentParser) -> None:
    """Add how files are examined, and where it is written down.

    Args:
        parser: Gets the options.
    """
    parser.add_argument(
        '--report',
        type=Path,
        help='where to write PATH.txt, PATH.json and the journal PATH.sqlite '
        '(default: verify in the work folder of the config)',
    )
    parser.add_argument(
        '--workers',
        type=int,
        help='helper processes (default: one for each core)',
    )
    parser.add_argument(
        '--time-limit',
        type=float,
        default=60.0,
        help='seconds for each look at a file (default: %(default)s)',
    )
    parser.add_argument(
        '--anew',
        action='store_true',
        help='examine all files again, also those that did not change',
    )
