"""Annotation files: captions of videos, read, checked and written."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from mmengine.logging import print_log

from mmtvr.datasets.input_files import (
    CONTROL,
    brief,
    check_span,
    find_caption_fault,
    find_name_fault,
    has_word,
    parse_json,
    read_text,
    to_seconds,
)
from mmtvr.errors import SetupError
from mmtvr.files import VIDEO_EXTENSIONS, write_atomically


@dataclass(frozen=True)
class VideoCaptions:
    """One video of a split with everything said about it.

    Attributes:
        file: File name below the videos folder.
        captions: At least one caption.
        start: Where the clip begins inside the file, in seconds.
        end: Where it ends, in seconds; None for the end of the file.
    """

    file: str
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    def as_paragraph(self) -> 'VideoCaptions':
        """Join all captions by one space, as paragraph retrieval does."""
        return replace(self, captions=(' '.join(self.captions),))


@dataclass(frozen=True)
class CleaningReport:
    """What :func:`clean_captions` changed.

    Attributes:
        captions: Number of captions kept.
        whitespace: Captions in which runs of white space became one space.
        empty: Captions dropped because no word was left.
        videos_dropped: Names of videos dropped with their last caption.
    """

    captions: int
    whitespace: int
    empty: int
    videos_dropped: tuple[str, ...]


def clean_captions(
    videos: Iterable[VideoCaptions],
) -> tuple[list[VideoCaptions], CleaningReport]:
    """Collapse white space and drop captions that hold no word."""
    kept, dropped = [], []
    captions = whitespace = empty = 0
    for video in videos:
        texts = tuple(' '.join(text.split()) for text in video.captions)
        whitespace += sum(
            new != old for new, old in zip(texts, video.captions, strict=True)
        )
        words = tuple(text for text in texts if has_word(text))
        empty += len(texts) - len(words)
        captions += len(words)
        if words:
            kept.append(replace(video, captions=words))
        else:
            dropped.append(video.file)
    return kept, CleaningReport(captions, whitespace, empty, tuple(dropped))


def write_annotation(
    path: str | os.PathLike[str],
    videos: Iterable[VideoCaptions],
    about: Mapping[str, object],
) -> None:
    """Write one split atomically.

    Args:
        path: The JSON file.
        videos: The split, in the order that gives each video its number.
        about: Further keys of the file, such as ``dataset`` and ``split``.
    """
    rows = []
    for video in videos:
        row = {'file': video.file, 'captions': list(video.captions)}
        if video.start is not None:
            row['start'] = video.start
        if video.end is not None:
            row['end'] = video.end
        rows.append(row)
    content = json.dumps({**about, 'videos': rows}, ensure_ascii=False)
    write_atomically(path, content.encode())


HOW_TO_PREPARE = (
    'For your own videos `mmtvr prepare table SOURCE --videos DIR` writes it, '
    'for MSR-VTT `mmtvr prepare msrvtt DIR` from the original files (other '
    'data sets: tools/data/README.md), and so does `bash prepare_msrvtt.sh` '
    "in mmaction2's tools/data/video_retrieval"
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

    Returns:
        One record per video or span, in the order of the file.

    Raises:
        SetupError: The file is missing, larger than the limit (see
            :func:`mmtvr.datasets.input_files.get_limit`), no JSON, holds no
            video or the same clip twice, or has another layout; the message
            names the file and the place in it.
    """
    if not os.path.lexists(path):
        raise SetupError(
            f'There is no annotation file {path} (looked for it from '
            f'{Path.cwd()}). {HOW_TO_PREPARE}.'
        )
    text = read_text(path)
    try:
        content = parse_json(text, f'Annotation file {path}')
    except SetupError as error:
        if text.lstrip()[:1] in ('{', '['):
            raise
        kind = 'a CSV table' if ',' in text.partition('\n')[0] else 'a text'
        raise SetupError(
            f'Annotation file {path} cannot be read as JSON, it is '
            f'{kind if text.strip() else "empty"}. {HOW_TO_PREPARE}. Or write '
            f'it yourself: {LAYOUT}.'
        ) from error
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


def find_path_escape(folder: str | Path, file: str) -> str | None:
    """Describe how a file name leaves the folder; None if it is inside.

    The folder itself may be a link to another disk; what counts is where it
    leads. Names are parsed as Windows does too, so that an annotation file is
    as harmless there.
    """
    path = PureWindowsPath(file)
    if file.startswith(('/', '\\')) or path.drive:
        return 'an absolute path'
    if '..' in path.parts:
        return '".." in its path'
    root = os.path.realpath(folder)
    place = root
    for part in Path(file).parts:
        place = os.path.join(place, part)
        if os.path.islink(place):
            target = os.path.realpath(place)
            if not _is_inside(root, target):
                return f'a link to {target}'
    return None


def refuse_path_escapes(
    folder: str | Path, files: Iterable[str], ann_file: str
) -> None:
    """Refuse files of an annotation file outside the folder of the videos.

    Raises:
        SetupError: One of the files is outside; names it and the setting that
            allows it.
    """
    for file in files:
        escape = find_path_escape(folder, file)
        if escape:
            raise SetupError(
                f'{file!r} of {ann_file} leads out of the folder of the '
                f'videos {folder}: {escape}. If it should be read, set '
                'allow_outside=True in the dataset.'
            )


def complete_names(
    records: Sequence[VideoCaptions],
    folder: str | os.PathLike[str],
    ann_file: str | os.PathLike[str],
) -> list[VideoCaptions]:
    """Complete names without an ending where one video has that stem.

    Args:
        records: What an annotation file names.
        folder: The folder of the videos.
        ann_file: The annotation file, for the log.
    """
    folder = os.fspath(folder)
    bare = {
        record.file
        for record in records
        if os.path.splitext(record.file)[1].lower() not in VIDEO_EXTENSIONS
        and find_path_escape(folder, record.file) is None
        and not os.path.exists(os.path.join(folder, record.file))
    }
    by_stem: dict[str, list[str]] = {}
    for parent in {os.path.dirname(file) for file in bare}:
        if not os.path.isdir(os.path.join(folder, parent)):
            continue
        for name in os.listdir(os.path.join(folder, parent)):
            stem, ending = os.path.splitext(os.path.join(parent, name))
            if ending.lower() in VIDEO_EXTENSIONS:
                by_stem.setdefault(stem, []).append(stem + ending)
    found = {f: by_stem[f][0] for f in bare if len(by_stem.get(f, ())) == 1}
    if found:
        name, file = min(found.items())
        print_log(
            f'{ann_file}: {len(found):,} names have no ending; the one video '
            f'of that name is taken, such as {brief(file)} for {brief(name)}.',
            'current',
        )
    return [
        replace(each, file=found.get(each.file, each.file)) for each in records
    ]


def _is_inside(root: str, target: str) -> bool:
    try:
        return os.path.commonpath([root, target]) == root
    except ValueError:  # another drive
        return False


def find_oddities(records: Sequence[VideoCaptions]) -> Iterator[str]:
    """Report captions that repeat or hold control characters, all kept."""
    twice = [
        (record.file, caption)
        for record in records
        if len(set(record.captions)) < len(record.captions)
        for caption in _find_repeated(record.captions)
    ]
    if twice:
        yield (
            f'{len(twice):,} captions repeat another of the same video, the '
            f'first is {brief(twice[0][1])} of {twice[0][0]}; each counts'
        )
    marked = [
        (record.file, caption)
        for record in records
        for caption in record.captions
        if CONTROL.search(caption)
    ]
    if marked:
        yield (
            f'{len(marked):,} captions hold control characters, the first is '
            f'{brief(marked[0][1])} of {marked[0][0]}; they are kept'
        )


def _find_repeated(captions: Sequence[str]) -> Iterator[str]:
    seen = set()
    for caption in captions:
        if caption in seen:
            yield caption
        seen.add(caption)


def count_shared_captions(videos: Sequence[VideoCaptions]) -> int:
    """Count captions, each occurrence, that another video has too."""
    return sum(
        sum(counts.values())
        for counts in _videos_of_captions(videos).values()
        if len(counts) > 1
    )


def best_strict_recall(videos: Sequence[VideoCaptions]) -> float:
    """Text-to-video R@1 in percent that no system can exceed without luck.

    Equal texts get equal rankings, so of the videos that share a caption only
    one can be ranked first, best the one that has the caption most often.
    """
    groups = _videos_of_captions(videos).values()
    reachable = sum(max(counts.values()) for counts in groups)
    total = sum(len(video.captions) for video in videos)
    return 100.0 * reachable / total


def describe_captions(videos: Sequence[VideoCaptions]) -> dict[str, str]:
    """Facts for a report on a test: who asks, and what can be reached.

    Args:
        videos: Those of the test.

    Returns:
        ``data`` and ``ceiling``, in words.

    Example:
        >>> videos = [VideoCaptions('a.mp4', ('one', 'two'))]
        >>> describe_captions(videos)['ceiling']
        '100 % t2v R@1: no two videos share a caption'
    """
    texts = sum(len(video.captions) for video in videos)
    asked = 'one caption each'
    if texts != len(videos):
        asked = 'each caption a query, video to text any of them'
    shared = count_shared_captions(videos)
    why = 'no two videos share a caption'
    if shared:
        why = f'{shared:,} captions are those of another video too'
    return dict(
        data=f'{texts:,} captions of {len(videos):,} videos, {asked}',
        ceiling=f'{best_strict_recall(videos):.4g} % t2v R@1: {why}',
    )


def _videos_of_captions(
    videos: Sequence[VideoCaptions],
) -> dict[str, Counter[int]]:
    groups: dict[str, Counter[int]] = defaultdict(Counter)
    for number, video in enumerate(videos):
        for caption in video.captions:
            groups[caption][number] += 1
    return groups
