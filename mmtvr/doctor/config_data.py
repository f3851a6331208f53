"""The data of a config: annotation files, videos, room for what is written."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmtvr.config import load_config, walk
from mmtvr.datasets.annotations import find_way_out, read_annotations
from mmtvr.doctor.finding import Finding
from mmtvr.doctor.machine import GIBIBYTE, check_disk_space
from mmtvr.errors import SetupError

NAME = 'config'
STAGES = ('train', 'val', 'test')
# A checkpoint of CLIP ViT-B/32 with the optimiser's state has 1.7 GB, and
# recipes keep three and the best.
WORK_LEAST = 8 * GIBIBYTE
VERIFY = 'python tools/data/verify.py {} lists all of them'
GET = 'tools/data/README.md says where each data set comes from; or set {}'


def check_data(path: str) -> list[Finding]:
    """Look at the data that a config names.

    Args:
        path: The config.

    Returns:
        Findings on the config itself, its folder for results, and each
        annotation file with its videos.
    """
    try:
        cfg = load_config(path)
    except SetupError as error:
        return [Finding(NAME, 'file', 'error', str(error))]
    work = check_disk_space(
        NAME, 'work folder', Path(cfg.work_dir), WORK_LEAST
    )
    findings = [Finding(NAME, 'file', 'ok', f'{path} can be read'), work]
    seen = set()
    for stage in STAGES:
        loader = cfg.get(f'{stage}_dataloader') or {}
        for node in _find_datasets(loader.get('dataset')):
            place = locate(node)
            if place not in seen:
                seen.add(place)
                findings += check_dataset(path, stage, node)
    return findings


def _find_datasets(node: Any) -> Iterator[dict]:
    for _, each in walk(node):
        name = str(each.get('type', '')).rpartition('.')[2]
        if name == 'MovingShapesDataset' or 'ann_file' in each:
            yield each


def locate(node: dict) -> tuple[str, str]:
    """Where a dataset has its files.

    Args:
        node: Its dict in a config.

    Returns:
        Annotation file, or the name of a split that is drawn; and the folder
        of the videos.
    """
    root = node.get('data_root') or ''
    prefix = (node.get('data_prefix') or {}).get('video', 'videos')
    file = node.get('ann_file') or node.get('split', '')
    return os.path.join(root, file), os.path.join(root, prefix)


def check_dataset(config: str, stage: str, node: dict) -> list[Finding]:
    """Look at one data set.

    Args:
        config: The config, for commands.
        stage: ``train``, ``val`` or ``test``.
        node: Its dict in the config.

    Returns:
        A finding on its annotation file and one on its videos.
    """
    subject = f'{stage} data'
    if 'ann_file' not in node:
        folder = node.get('data_root') or 'data/moving_shapes'
        text = f'drawn into {folder} on first use'
        return [Finding(NAME, subject, 'ok', text)]
    ann_file, folder = locate(node)
    try:
        records = read_annotations(ann_file)
    except SetupError as error:
        option = f'{stage}_dataloader.dataset.data_root and ann_file'
        way_out = GET.format(option)
        return [Finding(NAME, subject, 'error', str(error), way_out)]
    captions = sum(len(record.captions) for record in records)
    text = f'{len(records):,} videos, {captions:,} captions in {ann_file}'
    files = list(dict.fromkeys(record.file for record in records))
    return [
        Finding(NAME, subject, 'ok', text),
        check_videos(config, stage, Path(folder), files, node),
    ]


def check_videos(
    config: str, stage: str, folder: Path, files: list[str], node: dict
) -> Finding:
    """Look whether the videos are there, and decode the first.

    Args:
        config: The config, for commands.
        stage: ``train``, ``val`` or ``test``.
        folder: The folder of the videos.
        files: Their names in it.
        node: The data set's dict in the config.

    Returns:
        The finding.
    """
    subject, way_out = f'{stage} videos', VERIFY.format(config)
    if not folder.is_dir():
        text = f'there is no folder {folder}'
        option = f'{stage}_dataloader.dataset.data_prefix.video'
        return Finding(NAME, subject, 'error', text, GET.format(option))
    outside = [file for file in files if find_way_out(folder, file)]
    if outside and not node.get('allow_outside'):
        text = f'{len(outside):,} lead out of {folder}, as {outside[0]!r}'
        mend = 'set allow_outside=True in the dataset if they should be read'
        return Finding(NAME, subject, 'error', text, mend)
    missing = [file for file in files if not os.path.isfile(folder / file)]
    text = f'{len(files) - len(missing):,} of {len(files):,} in {folder}'
    if missing:
        skips = node.get('skip_missing') and len(missing) < len(files)
        severity = 'warning' if skips else 'error'
        text += f'; missing {missing[0]!r}'
        way_out += '; skip_missing=True in the dataset goes on without them'
        return Finding(NAME, subject, severity, text, way_out)
    fault = find_fault(folder / files[0])
    if fault:
        return Finding(NAME, subject, 'warning', f'{text}; {fault}', way_out)
    return Finding(NAME, subject, 'ok', f'{text}, the first one decodes')


def find_fault(path: Path) -> str | None:
    """Decode the beginning of a video.

    Args:
        path: The file.

    Returns:
        Why it cannot be read, or None.
    """
    from mmtvr.video import AutoReader, UnreadableVideoError

    try:
        with AutoReader(path) as reader:
            reader.get_frames([0])
    except UnreadableVideoError as error:
        return str(error)
    return None
