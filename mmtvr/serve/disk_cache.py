"""Files that were made once, up to a number of bytes."""

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile

SHARE_KEPT = 0.8


class DiskCache:
    """A folder of made files; the ones that were not used longest go first.

    Args:
        folder: The folder; made if need be, for its owner alone.
        most_bytes: What the files may take together.
    """

    def __init__(self, folder: Path, most_bytes: int = 2**30) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.bytes = sum(file.stat().st_size for file in folder.iterdir())

    def get(
        self, parts: tuple, suffix: str, make: Callable[[Path], None]
    ) -> Path:
        """Give a file, made if it is not there.

        Args:
            parts: What the file depends on.
            suffix: Ending of its name.
            make: Writes the file to a path.

        Returns:
            The file.
        """
        digest = blake2b(repr(parts).encode('utf-8', 'surrogatepass'))
        path = self.folder / f'{digest.hexdigest()[:32]}{suffix}'
        if path.is_file():
            path.touch()
            return path
        with NamedTemporaryFile(
            dir=self.folder, suffix=suffix, delete=False
        ) as file:
            fresh = Path(file.name)
        try:
            make(fresh)
            os.replace(fresh, path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        self.bytes += path.stat().st_size
        if self.bytes > self.most_bytes:
            self._prune(keep=path)
        return path

    def _prune(self, keep: Path) -> None:
        """Remove files until well below the limit."""
        files = [(f.stat(), f) for f in self.folder.iterdir() if f != keep]
        files.sort(key=lambda pair: pair[0].st_mtime_ns)
        self.bytes = sum(s.st_size for s, _ in files) + keep.stat().st_size
        for about, file in files:
            if self.bytes <= SHARE_KEPT * self.most_bytes:
                break
            file.unlink(missing_ok=True)
            self.bytes -= about.st_size
