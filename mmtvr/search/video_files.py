"""Which video files a folder or an annotation file names."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmtvr.datasets.annotations import read_annotations
from mmtvr.errors import SetupError

# fmt: off
EXTENSIONS = frozenset((
    '.3g2', '.3gp', '.asf', '.avi', '.divx', '.f4v', '.flv', '.m2ts', '.m2v',
    '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.mxf', '.ogm',
    '.ogv', '.qt', '.rm', '.rmvb', '.ts', '.vob', '.webm', '.wmv',
))
# fmt: on
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
    """

    path: str
    source: str = ''
    start: float | None = None
    end: float | None = None


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
        closed: Folders in them that cannot be read, and why.
    """

    videos: list[FoundVideo]
    folders: list[str]
    annotations: list[str]
    closed: dict[str, str]


def find_videos(
    sources: Sequence[str | os.PathLike[str]],
    videos_folder: str | os.PathLike[str] | None = None,
) -> Sources:
    """Find the videos that folders, annotation files and paths name.

    A folder is looked through with all folders in it, those behind links
    included, each real folder once. What has one of ``EXTENSIONS`` counts as
    a video; names that begin with a dot do not. A file that is given by
    itself is taken whatever its name.

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
    folders, annotations, closed = [], [], {}
    for source in sources:
        path = os.path.abspath(os.fspath(source))
        if os.path.isdir(path):
            folders.append(path)
            found: Iterable[FoundVideo] = _walk(path, closed)
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
        else:
            found = [FoundVideo(path)]
        for video in found:
            videos.setdefault((video.path, video.start, video.end), video)
    ordered = sorted(videos.values(), key=_order)
    return Sources(ordered, folders, annotations, closed)


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
    for record in records:
        path = os.path.abspath(os.path.join(folder, record.file))
        video = FoundVideo(path, annotation, record.start, record.end)
        captioned.append(CaptionedVideo(video, record.captions))
    return captioned


def _order(video: FoundVideo) -> tuple:
    return os.fsencode(video.path), video.start or 0.0, video.end or 0.0


def _walk(top: str, closed: dict[str, str]) -> Iterator[FoundVideo]:
    """Look through a folder without recursion, which deep trees break."""
    waiting, seen = [top], set()
    while waiting:
        folder = waiting.pop()
        try:
            about = os.stat(folder)
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            entries = sorted(os.scandir(folder), key=lambda e: e.name)
        except OSError as error:
            closed[folder] = error.strerror or str(error)
            continue
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            if _is(entry, os.DirEntry.is_dir):
                waiting.append(entry.path)
            elif _has_extension(entry.name) and _is(
                entry, os.DirEntry.is_file
            ):
                yield FoundVideo(entry.path, top)


def _has_extension(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _is(entry: os.DirEntry, question: Callable[[Any], bool]) -> bool:
    try:
        return question(entry)
    except OSError:
        # A link that leads in a circle.
        return False
