"""Keep what an annotation file names inside the folder of the videos."""

import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

from mmtvr.errors import SetupError


def find_way_out(folder: str | Path, file: str) -> str | None:
    """How a file name of an annotation file leaves the folder of the videos.

    The folder itself may be a link to another disk; what counts is where it
    leads. Names are looked at as Windows reads them too, so that an
    annotation file is as harmless there.

    Args:
        folder: The folder of the videos.
        file: Name relative to the folder.

    Returns:
        What leads out, or None if the file is inside.
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
            if not is_inside(root, target):
                return f'a link to {target}'
    return None


def refuse_ways_out(
    folder: str | Path, files: Iterable[str], ann_file: str
) -> None:
    """Refuse an annotation file that leads out of the folder of the videos.

    Args:
        folder: The folder of the videos.
        files: What the annotation file names.
        ann_file: The annotation file, for the message.

    Raises:
        SetupError: One of the files is outside; names it and the setting that
            allows it.
    """
    for file in files:
        way_out = find_way_out(folder, file)
        if way_out:
            raise SetupError(
                f'{file!r} of {ann_file} leads out of the folder of the '
                f'videos {folder}: {way_out}. If it should be read, set '
                'allow_outside=True in the dataset.'
            )


def is_inside(root: str, target: str) -> bool:
    """Whether a resolved path is in a resolved folder.

    Args:
        root: The folder, absolute and without links.
        target: The path, absolute and without links.

    Returns:
        True if it is the folder or below it.
    """
    try:
        return os.path.commonpath([root, target]) == root
    except ValueError:  # another drive
        return False
