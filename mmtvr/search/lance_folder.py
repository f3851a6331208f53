"""The folder, or the object store, of an index in Lance's format."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from mmtvr.errors import SetupError

LOCK = '.lock'
KNOWN = {'about.lance', 'videos.lance', 'files.lance', LOCK}
STALENESS = timedelta(seconds=1)


def connect(url: str) -> Any:
    """Connect to an index, whether it is there or not.

    Args:
        url: A folder, or an object store such as ``s3://bucket/index``.

    Returns:
        A database of LanceDB.

    Raises:
        SetupError: LanceDB is not installed, or the folder holds something
            else.
    """
    folder = Path(url)
    if '://' not in url and folder.is_dir():
        strangers = {p.name for p in folder.iterdir()} - KNOWN
        if strangers:
            raise SetupError(
                f'{url} is no index: it holds {sorted(strangers)[0]!r}. '
                'Give a folder that does not exist yet, or an index.'
            )
    try:
        import lancedb
    except ImportError as error:
        raise SetupError(
            'An index in a folder needs LanceDB, which is not installed: '
            'pip install lancedb'
        ) from error
    return lancedb.connect(url, read_consistency_interval=STALENESS)
