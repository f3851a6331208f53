"""The videos of a folder, and a folder for their copies."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmtvr.errors import SetupError

#: Files that lie beside videos and are none.
OTHER_FILES = frozenset(
    (
        *('.csv', '.json', '.jsonl', '.md', '.tsv', '.txt', '.xml', '.yaml'),
        *('.gz', '.npy', '.npz', '.pkl', '.pt', '.pth', '.tar', '.zip'),
        *('.html', '.jpg', '.png', '.srt', '.vtt', '.yml'),
    )
)


def check_folders(source: Path, output: Path) -> None:
    """Refuse what would mix sources and copies.

    Args:
        source: Folder of the videos.
        output: Folder for the copies.

    Raises:
        SetupError: If there is no source, or one lies in the other.
    """
    if not source.is_dir():
        raise SetupError(f'there is no folder {source}')
    first, second = source.resolve(), output.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise SetupError(
            f'{output} and {source} lie in each other; sources are never '
            'overwritten, so name a folder elsewhere'
        )


def find_videos(folder: Path) -> tuple[list[str], int]:
    """List what may be a video: all but hidden files and known others.

    Args:
        folder: Where to look, in all depths, links included.

    Returns:
        Names relative to the folder, sorted, and the number of other files.
    """
    files, others = [], 0
    for path in _walk(folder):
        name = path.relative_to(folder)
        hidden = any(part.startswith('.') for part in name.parts)
        if hidden or path.suffix.lower() in OTHER_FILES:
            others += 1
        else:
            files.append(str(name))
    return sorted(files), others


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        # A link may lead back to where it lies.
        folders[:] = [
            each
            for each in folders
            if os.path.realpath(os.path.join(place, each)) not in seen
        ]
        yield from (Path(place, name) for name in names)
