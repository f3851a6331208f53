"""What has changed among files, by what the file system tells of them."""

import os
from collections.abc import Container, Iterable, Sequence

from mmtvr.errors import SetupError
from mmtvr.search.records import FileEntry
from mmtvr.search.video_files import FoundVideo, Sources


def describe_file(video: FoundVideo) -> FileEntry:
    """Say what the file system tells of a file without reading it.

    Args:
        video: The file.

    Returns:
        Its entry, with the content still open.
    """
    entry = FileEntry(
        video.path, '', source=video.source, start=video.start, end=video.end
    )
    try:
        about = os.stat(video.path)
    except OSError:
        return entry
    changed = (about.st_mtime_ns, about.st_ctime_ns)
    return FileEntry(
        **{**vars(entry), 'size': about.st_size, 'changed': changed}
    )


def is_unchanged(
    before: FileEntry, now: FileEntry, broken: Container[str]
) -> bool:
    """Say whether a file is as it was when it was indexed.

    Args:
        before: Its entry in the index.
        now: What the file system tells of it.
        broken: Contents that are known to be unreadable.

    Returns:
        Whether size and times are the same and it could be read, or is known
        not to be readable. A file that could not even be opened is tried
        again: that takes no time, and another right or mount may mend it.
    """
    same = (before.size, before.changed) == (now.size, now.changed)
    return same and (before.error is None or before.broken in broken)


def find_broken(
    entries: Iterable[FileEntry], readable: Container[str]
) -> dict[str, str]:
    """Find the contents that could not be decoded.

    Args:
        entries: The entries of the index.
        readable: Contents that have features.

    Returns:
        The reason by content.
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

    Args:
        entries: The entries of the index.
        sources: What was looked through now.

    Returns:
        Entries below one of the folders, or of one of the annotations, that
        were not found again. What lies below a folder that cannot be read
        now stays.

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
        is_closed = any(_is_below(entry.path, f) for f in sources.closed)
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


def find_named(
    entries: Iterable[FileEntry], paths: Sequence[str]
) -> list[FileEntry]:
    """Find entries by what a user calls them.

    Args:
        entries: Entries of the index.
        paths: Files, folders or annotations.

    Returns:
        Entries of these files, below these folders or of these annotations.
    """
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
