"""Remember what was found out about files, until they change."""

import os
import sqlite3
import time
from pathlib import Path

TABLE = (
    'CREATE TABLE IF NOT EXISTS checked (path BLOB, how TEXT, size INTEGER, '
    'modified INTEGER, at REAL, result TEXT, PRIMARY KEY (path, how))'
)


class CheckedFiles:
    """Results by path, size and time of modification, in a SQLite file.

    Each result is written at once, so that a process that is killed loses
    what it had not told yet and nothing else. Several processes may share the
    file.

    Args:
        path: The SQLite file; its folder is made if it is not there.

    Raises:
        OSError: If the file cannot be written or is something else.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        try:
            self._base = sqlite3.connect(path, timeout=60)
            # A crash of the machine may cost results, one of the process not.
            self._base.execute('PRAGMA synchronous = OFF')
            with self._base:
                self._base.execute(TABLE)
                # Fails where the file is there but may only be read.
                self._base.execute('DELETE FROM checked WHERE 0')
        except sqlite3.Error as error:
            raise OSError(f'{path}: {error}') from error

    def get(self, file: str, how: str) -> tuple[str, float] | None:
        """Look a result up.

        Args:
            file: Path of the file.
            how: What was checked with which options.

        Returns:
            The result and its age in seconds; None if there is none, or the
            file has changed since or is gone.
        """
        state = _state(file)
        row = self._base.execute(
            'SELECT size, modified, at, result FROM checked '
            'WHERE path = ? AND how = ?',
            (_key(file), how),
        ).fetchone()
        if row is None or state is None or row[:2] != state:
            return None
        return row[3], time.time() - row[2]

    def put(self, file: str, how: str, result: str) -> None:
        """Keep a result; not that of a file that is gone.

        Args:
            file: Path of the file.
            how: What was checked with which options.
            result: Any text.
        """
        state = _state(file)
        if state is None:
            return
        with self._base:
            self._base.execute(
                'INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?, ?, ?)',
                (_key(file), how, *state, time.time(), result),
            )

    def forget(self) -> None:
        """Drop all results."""
        with self._base:
            self._base.execute('DELETE FROM checked')

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()


def _state(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _key(file: str) -> bytes:
    return os.fsencode(os.path.abspath(file))
