"""What became of the videos of a folder that were compressed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmtvr.errors import SetupError
from mmtvr.video.compression import DRAFT

NAME = 'compressed.jsonl'
LOCK = '.compressing.lock'


class CompressionLog:
    """The list of finished copies beside them, one line each.

    Args:
        folder: Folder of the copies; created. One process at a time writes
            to it; drafts that a killed one left are removed.
        options: How they are made; JSON.

    Raises:
        SetupError: If the folder holds files that this command did not make,
            or copies made in another way, or another process is at work.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._path = folder / NAME
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            if any(folder.iterdir()):
                raise SetupError(
                    f'{folder} is not empty and holds no {NAME} of this '
                    'command; name an empty or new folder for the copies'
                )
            self._append(dict(options))
        head, *lines = self._read()
        if head != options:
            raise SetupError(
                f'the copies in {folder} were made with {head}, not with '
                f'{dict(options)}; name another folder'
            )
        self._done = {line.pop('file'): line for line in lines}
        self._lock = FileLock(folder / LOCK, timeout=0)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise SetupError(f'another command fills {folder}') from error
        for draft in folder.rglob(f'*{DRAFT}'):
            draft.unlink()

    def is_done(self, file: str, source: Path) -> bool:
        """Whether there is a copy of the file as it is now.

        Args:
            file: Its name, relative to both folders.
            source: The file.

        Returns:
            True if nothing is left to do.
        """
        return (
            self._done.get(file) == _stamp(source)
            and (self._folder / file).is_file()
        )

    def add(self, file: str, source: Path) -> None:
        """Note that a copy is finished.

        Args:
            file: Its name, relative to both folders.
            source: The file.
        """
        self._done[file] = _stamp(source)
        self._append(dict(file=file, **self._done[file]))

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._path.open('a', encoding='utf-8') as file:
            # A kill may have left a part of a line.
            file.write('\n' + json.dumps(line) + '\n')

    def _read(self) -> list[dict]:
        """All whole lines."""
        lines = []
        for line in self._path.read_text(encoding='utf-8').split('\n'):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        if not lines:
            raise SetupError(f'{self._path} is damaged; delete {self._folder}')
        return lines


def _stamp(path: Path) -> dict[str, int]:
    stat = os.stat(path)
    return dict(size=stat.st_size, mtime_ns=stat.st_mtime_ns)
