"""The folder, or the object store, of an index in Lance's format."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from mmtvr.errors import SetupError

LOCK = '.lock'
KNOWN = {'about.lance', 'videos.lance', 'files.lance', LOCK}
STALENESS = timedelta(seconds=1)


def check_folder(url: str) -> None:
    """Make sure that a place holds an index or nothing.

    Args:
        url: A folder, or an object store such as ``s3://bucket/index``.

    Raises:
        SetupError: It is a file, or the folder holds something else.
    """
    folder = Path(url)
    if '://' in url or not folder.exists():
        return
    if not folder.is_dir():
        raise SetupError(
            f'{url} is no index but a file. Give a folder that does not '
            'exist yet, or an index.'
        )
    strangers = {p.name for p in folder.iterdir()} - KNOWN
    if strangers:
        raise SetupError(
            f'{url} is no index: it holds {sorted(strangers)[0]!r}. '
            'Give a folder that does not exist yet, or an index.'
        )


def is_made(url: str) -> bool:
    """Say whether there may be an index, without making its folder.

    Args:
        url: As for :func:`check_folder`.

    Returns:
        Whether its facts are there; always true of an object store, which is
        asked itself.
    """
    return '://' in url or Path(url, 'about.lance').exists()


def connect(url: str) -> Any:
    """Connect to an index; a folder that is not there is made.

    Args:
        url: As for :func:`check_folder`.

    Returns:
        A database of LanceDB.

    Raises:
        SetupError: LanceDB is not installed.
    """
    try:
        import lancedb
    except ImportError as error:
        raise SetupError(
            'An index in a folder needs LanceDB, which is not installed: '
            'pip install lancedb'
        ) from error
    return lancedb.connect(url, read_consistency_interval=STALENESS)
