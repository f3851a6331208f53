"""Readers of annotation files: from a path to plain records, nothing else."""

import json
from collections import Counter
from collections.abc import Iterator
from numbers import Real
from pathlib import Path

from mmtvr.datasets.preparation.video_captions import VideoCaptions
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
        SetupError: If the file is missing, is no JSON, holds no video, or has
            another layout; the message names the file and the place in it.
    """
    content = _load_json(Path(path))
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
    return records


def _load_json(path: Path) -> object:
    if not path.is_file():
        raise SetupError(
            f'There is no annotation file {path} (looked for it from '
            f'{Path.cwd()}). {HOW_TO_PREPARE}.'
        )
    try:
        with path.open(encoding='utf-8') as file:
            return json.load(file, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise SetupError(
            f'Annotation file {path} cannot be read as JSON: {error}'
        ) from error


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build a JSON object whose keys are unique.

    The standard library keeps the last of several equal keys and drops the
    captions under the others without a word.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f'the key {twice!r} occurs twice in one object')
    return content


def _split_records(
    records: list, path: str | Path
) -> Iterator[tuple[object, object]]:
    for position, record in enumerate(records):
        if not isinstance(record, dict) or 'file' not in record:
            raise _layout_error(path, f'video {position} has no key "file"')
        yield record['file'], record


def _parse(path: str | Path, file: object, entry: object) -> VideoCaptions:
    if not isinstance(file, str) or not file.strip():
        raise _layout_error(path, f'{file!r} is not the name of a file')
    record = entry if isinstance(entry, dict) else {'captions': entry}
    captions = record.get('captions')
    if not isinstance(captions, list) or not captions:
        raise _layout_error(path, f'{file!r} has no list of captions')
    for position, caption in enumerate(captions):
        if not isinstance(caption, str) or not caption.strip():
            raise _layout_error(
                path, f'caption {position} of {file!r} is {caption!r}'
            )
    start, end = (_seconds(path, record, key) for key in ('start', 'end'))
    if end is not None and end <= (start or 0):
        raise _layout_error(
            path, f'the span of {file!r} is from {start} to {end}'
        )
    return VideoCaptions(file, tuple(captions), start, end)


def _seconds(path: str | Path, record: dict, key: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not value >= 0:
        file = record.get('file')
        raise _layout_error(path, f'{key!r} of {file!r} is {value!r}')
    return float(value)


def _layout_error(path: str | Path, finding: str) -> SetupError:
    return SetupError(
        f'Annotation file {path} is not of the expected layout: {finding}. '
        f'Expected: {LAYOUT}.'
    )
