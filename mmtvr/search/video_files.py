"""Video files to index: which there are, and what changed."""

import math
import mimetypes
import os
import shlex
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mmtvr.datasets.annotations import complete_names, read_annotations
from mmtvr.errors import SetupError
from mmtvr.files import (
    VIDEO_EXTENSIONS,
    FileStamp,
    describe_others,
    find_video_files,
)
from mmtvr.search.stores.base import MAX_WINDOWS, FileEntry, window_content

ANNOTATION = '.json'
VIDEOS_FOLDER = 'videos'


class FoundVideo(NamedTuple):
    """A video file, or a span of it, that is to be indexed.

    Attributes:
        path: Absolute path.
        source: The folder or annotation that named it; empty for a file that
            was given by itself.
        start: First second of the span; None from the beginning.
        end: Last second of the span; None to the end.
        content: Names its features, where that is known without reading it:
            of a window of a long video.
    """

    path: str
    source: str = ''
    start: float | None = None
    end: float | None = None
    content: str = ''


class CaptionedVideo(NamedTuple):
    """A video of an annotation file with what is said about it.

    Attributes:
        video: The file and its span.
        captions: At least one.
    """

    video: FoundVideo
    captions: tuple[str, ...]


class Sources(NamedTuple):
    """What was asked to be indexed.

    Attributes:
        videos: All videos, each once, sorted.
        folders: Folders that were looked through, absolute paths.
        annotations: Annotation files, absolute paths.
        closed: Folders in them that cannot be read, links that lead nowhere
            and pipes, and why.
        others: How many files were left out, by their extension.
    """

    videos: list[FoundVideo]
    folders: list[str]
    annotations: list[str]
    closed: dict[str, str]
    others: Mapping[str, int] = MappingProxyType({})


def find_videos(
    sources: Sequence[str | os.PathLike[str]],
    videos_folder: str | os.PathLike[str] | None = None,
) -> Sources:
    """Find the videos that folders, annotation files and paths name.

    Folders are searched as :func:`mmtvr.files.find_video_files` does. A file
    that is given by itself is taken whatever its name, unless that is one of
    a picture or a text.

    Args:
        sources: Folders, video files, and annotation files (``.json``, see
            :func:`mmtvr.datasets.annotations.read_annotations`).
        videos_folder: Folder of the videos of the annotation files. Defaults
            to ``videos`` beside each.

    Returns:
        The videos.

    Raises:
        SetupError: One of the sources does not exist, or there is none.
    """
    if not sources:
        raise SetupError('name a folder, files or an annotation to index')
    videos: dict[tuple, FoundVideo] = {}
    folders, annotations, closed, others = [], [], {}, Counter()
    for source in sources:
        path = os.path.abspath(os.fspath(source))
        if os.path.isdir(path):
            folders.append(path)
            found: Iterable[FoundVideo] = [
                FoundVideo(file, path)
                for file in find_video_files(path, closed, others)
            ]
        elif not os.path.exists(path):
            raise SetupError(
                f'there is no folder or file {os.fspath(source)!r} '
                f'(looked from {Path.cwd()})'
            )
        elif path.endswith(ANNOTATION):
            annotations.append(path)
            found = [
                each.video for each in read_captioned(path, videos_folder)
            ]
        elif _is_no_video(path):
            others[os.path.splitext(path)[1].lower()] += 1
            continue
        else:
            found = [FoundVideo(path)]
        for video in found:
            videos.setdefault((video.path, video.start, video.end), video)
    ordered = sorted(videos.values(), key=_order)
    return Sources(ordered, folders, annotations, closed, others)


def _is_no_video(path: str) -> bool:
    """Whether a name is that of a picture or a text, as ``DIR/*`` brings.

    FFmpeg decodes them too: a picture as one frame, a text as a film of it.
    """
    if os.path.splitext(path)[1].lower() in VIDEO_EXTENSIONS:
        return False
    kind, _ = mimetypes.guess_type(path)
    return (kind or '').startswith(('image/', 'text/'))


def describe_absence(sources: Sources) -> str:
    """Say that there is no video, and what there is instead."""
    where = ', '.join(map(repr, sources.folders)) or 'what was given'
    found = describe_others(sources.others) if sources.others else 'nothing'
    return (
        f'there is no video in {where}, only {found}: files count that end '
        'like videos do (.mp4, .mkv, .mov, .webm, ...)'
    )


def unreadable_query(path: str | os.PathLike[str], reason: str) -> SetupError:
    """Say what to do about a video that was named, and cannot be read."""
    path = os.fspath(path)
    remedy = 'give the path of a video or image file'
    if os.path.isfile(path):
        stem = shlex.quote(os.path.splitext(path)[0] + '_new.mp4')
        remedy += (
            '; if another program plays this one, let that write it anew, as '
            f'with ffmpeg -i {shlex.quote(path)} {stem}'
        )
    return SetupError(f'{path} cannot be read: {reason}; {remedy}')


def read_captioned(
    annotation: str | os.PathLike[str],
    videos_folder: str | os.PathLike[str] | None = None,
) -> list[CaptionedVideo]:
    """Read which videos an annotation file names, with their captions.

    Args:
        annotation: The file.
        videos_folder: Folder of its videos. Defaults to ``videos`` beside it.

    Returns:
        The videos, in the order of the file.

    Raises:
        SetupError: The file or the folder is missing, or it has another
            layout.
    """
    annotation = os.path.abspath(annotation)
    records = read_annotations(annotation)
    folder = videos_folder or Path(annotation).parent / VIDEOS_FOLDER
    if not os.path.isdir(folder):
        raise SetupError(
            f'there is no folder {os.fspath(folder)!r} with the videos of '
            f'{annotation}; name it (videos_folder, --videos-folder)'
        )
    captioned = []
    for record in complete_names(records, folder, annotation):
        path = os.path.abspath(os.path.join(folder, record.file))
        video = FoundVideo(path, annotation, record.start, record.end)
        captioned.append(CaptionedVideo(video, record.captions))
    return captioned


def plan_windows(
    video: FoundVideo, content: str, seconds: float, info: Mapping[str, Any]
) -> list[FoundVideo]:
    """Divide a long video into windows of one length, each over the last.

    The last one goes to the end, and is as long as the overlap at least.

    Args:
        video: The video.
        content: Names its features.
        seconds: How long it is.
        info: Facts of the index: ``window`` and ``overlap``, in seconds. An
            index without them, or with a ``window`` of 0, has no windows.

    Returns:
        The windows in their order; none of a video that one window holds.

    Raises:
        ValueError: They are more than the index can number.
    """
    window, overlap = info.get('window', 0), info.get('overlap', 0)
    if not window or seconds <= window:
        return []
    step = window - overlap
    count = 1 + math.ceil((seconds - window) / step)
    if count > MAX_WINDOWS:
        raise ValueError(
            f'{seconds:.0f} s are {count} windows of {window:g} s, an index '
            f'has at most {MAX_WINDOWS} of a video: make one with a longer '
            '--window'
        )
    first, windows = video.start or 0.0, []
    for number in range(count):
        start = first + number * step
        end = start + window if number + 1 < count else video.end
        name = window_content(content, number)
        windows.append(FoundVideo(video.path, video.source, start, end, name))
    return windows


def _order(video: FoundVideo) -> tuple:
    return os.fsencode(video.path), video.start or 0.0, video.end or 0.0


def describe_file(video: FoundVideo) -> FileEntry:
    """Size and times of a file that is not read: an entry without content."""
    entry = FileEntry(
        video.path, '', source=video.source, start=video.start, end=video.end
    )
    try:
        stamp = FileStamp.of(os.stat(video.path))
    except OSError:
        return entry
    return FileEntry(
        **{**vars(entry), 'size': stamp.size, 'changed': stamp.times}
    )


def take_snapshot(paths: Iterable[str]) -> dict[str, tuple]:
    """Size and time of modification of files, to see whether one changes."""
    snapshot: dict[str, tuple] = {}
    for path in paths:
        try:
            status = os.stat(path)
            snapshot[path] = (status.st_size, status.st_mtime_ns)
        except OSError:
            snapshot[path] = ()
    return snapshot


def is_unchanged(
    before: FileEntry, now: FileEntry, broken: Container[str]
) -> bool:
    """Whether a file is as it was when it was indexed.

    Args:
        before: Its entry in the index.
        now: What :func:`describe_file` says.
        broken: Contents that are known to be unreadable.

    Returns:
        Whether size and times are the same and it could be read, or is known
        not to be readable. A file that could not even be opened is tried
        again: that takes no time, and another right or mount may fix it.
    """
    same = (before.size, before.changed) == (now.size, now.changed)
    return same and (before.error is None or before.broken in broken)


def find_broken(
    entries: Iterable[FileEntry], readable: Container[str]
) -> dict[str, str]:
    """Contents that could not be decoded, and why.

    Args:
        entries: The entries of the index.
        readable: Contents that have features.
    """
    return {
        entry.broken: entry.error or ''
        for entry in entries
        if entry.broken and entry.broken not in readable
    }


def find_gone(
    entries: Iterable[FileEntry], sources: Sources
) -> list[FileEntry]:
    """Find entries whose file is no longer there.

    Returns:
        Entries below one of the folders, or of one of the annotations, that
        were not found again. What lies below a folder or behind a link that
        cannot be read now stays.

    Raises:
        SetupError: A folder has no video now but had some.
    """
    found = {(v.path, v.start, v.end) for v in sources.videos}
    gone = []
    below = {folder: 0 for folder in sources.folders}
    for entry in entries:
        named = entry.source in sources.annotations
        tops = [f for f in sources.folders if _is_below(entry.path, f)]
        for top in tops:
            below[top] += 1
        is_listed = named or (tops and not _is_annotation(entry.source))
        is_closed = entry.path in sources.closed or any(
            _is_below(entry.path, f) for f in sources.closed
        )
        key = (entry.path, entry.start, entry.end)
        if is_listed and key not in found and not is_closed:
            gone.append(entry)
    for folder, count in below.items():
        if count and not any(
            _is_below(v.path, folder) for v in sources.videos
        ):
            raise SetupError(
                f'{folder} has no video now, but {count} of the index are '
                'from there: is a disk not mounted? If they are really gone, '
                'remove them with `mmtvr index --into INDEX --remove FOLDER`'
            )
    return gone


def find_moved(
    before: Sequence[FileEntry],
    now: Iterable[FileEntry],
    gone: Container[FileEntry] = (),
) -> list[FileEntry]:
    """Find entries whose file is gone and has come back at another path.

    Args:
        before: Entries that were there before.
        now: All entries.
        gone: Entries that are known to be gone.
    """
    keys = {entry.key for entry in before}
    moved = {entry.content for entry in now if entry.key not in keys}
    return [
        entry
        for entry in before
        if entry.content in moved and entry.is_gone and entry not in gone
    ]


def find_named(
    entries: Iterable[FileEntry], paths: Sequence[str]
) -> list[FileEntry]:
    """Entries of these files, below these folders or of these annotations."""
    names = {*paths, *map(os.path.abspath, paths)}
    return [
        entry
        for entry in entries
        if entry.path in names
        or entry.source in names
        or any(_is_below(entry.path, name) for name in names)
    ]


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _is_annotation(source: str) -> bool:
    return source.endswith('.json')
