"""Readers of annotation files: from a path to plain records, nothing else."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmtvr.datasets.input_file import parse_json, read_text
from mmtvr.datasets.preparation.fields import check_span, to_seconds
from mmtvr.datasets.preparation.video_captions import VideoCaptions
from mmtvr.datasets.wording import (
    brief,
    find_caption_fault,
    find_name_fault,
)
from mmtvr.errors import SetupError

HOW_TO_PREPARE = (
    '`python tools/data/msrvtt/prepare.py DIR` writes it from the original '
    'files (other data sets: tools/data/README.md), and so does '
    "`bash prepare_msrvtt.sh` in mmaction2's tools/data/video_retrieval"
)
LAYOUT = (
    '{"videos": [{"file": "video0.mp4", "captions": ["a caption"], "start": '
    '0.0, "end": 9.5}, ...]} with start and end as you like, or '
    '{"video0.mp4": ["a caption", "another"], ...}'
)


def read_annotations(path: str | Path) -> list[VideoCaptions]:
    """Read an annotation file.

    Two layouts are accepted: the one that ``tools/data/*/prepare.py`` write,
    ``{'videos': [{'file', 'captions', 'start', 'end'}, ...]}``, where a file
    may occur several times with different spans, and the one of mmaction2's
    preparation scripts, ``{file: [captions]}``.

    Args:
        path: A JSON file in UTF-8.

    Returns:
        One record per video or span, in the order of the file.

    Raises:
        SetupError: If the file is missing, larger than the limit (see
            :func:`mmtvr.datasets.input_file.get_limit`), no JSON, holds no
            video or the same clip twice, or has another layout; the message
            names the file and the place in it.
    """
    if not os.path.lexists(path):
        raise SetupError(
            f'There is no annotation file {path} (looked for it from '
            f'{Path.cwd()}). {HOW_TO_PREPARE}.'
        )
    content = parse_json(read_text(path), f'Annotation file {path}')
    if not isinstance(content, dict):
        raise _layout_error(path, f'it holds a {type(content).__name__}')
    videos = content.get('videos')
    is_ours = isinstance(videos, list) and not isinstance(
        next(iter(videos), None), str
    )
    entries = _split_records(videos, path) if is_ours else content.items()
    records = [_parse(path, file, entry) for file, entry in entries]
    if not records:
        raise SetupError(f'Annotation file {path} holds no videos.')
    _refuse_repeated_clips(path, records)
    return records


def _refuse_repeated_clips(
    path: str | Path, records: Sequence[VideoCaptions]
) -> None:
    """Two numbers of one clip would count each other's captions as wrong."""
    places: dict[tuple, int] = {}
    for place, record in enumerate(records):
        clip = record.file, record.start, record.end
        first = places.setdefault(clip, place)
        if first != place:
            raise _layout_error(
                path,
                f'videos {first} and {place} are the same clip of '
                f'{brief(record.file)}; put its captions in one list',
            )


def _split_records(
    records: list, path: str | Path
) -> Iterator[tuple[object, object]]:
    for position, record in enumerate(records):
        if not isinstance(record, dict) or 'file' not in record:
            raise _layout_error(path, f'video {position} has no key "file"')
        yield record['file'], record


def _parse(path: str | Path, file: object, entry: object) -> VideoCaptions:
    fault = find_name_fault(file)
    if fault:
        raise _layout_error(path, fault)
    record = entry if isinstance(entry, dict) else {'captions': entry}
    captions = record.get('captions')
    if not isinstance(captions, list) or not captions:
        raise _layout_error(path, f'{brief(file)} has no list of captions')
    for position, caption in enumerate(captions):
        fault = find_caption_fault(caption)
        if fault:
            raise _layout_error(
                path, f'caption {position} of {brief(file)} is {fault}'
            )
    where = f'{brief(file)} in annotation file {path}'
    start, end = (
        to_seconds(record.get(key), f'{key!r} of {where}')
        for key in ('start', 'end')
    )
    check_span(start, end, where)
    return VideoCaptions(str(file), tuple(captions), start, end)


def _layout_error(path: str | Path, finding: str) -> SetupError:
    return SetupError(
        f'Annotation file {path} is not of the expected layout: {finding}. '
        f'Expected: {LAYOUT}.'
    )
