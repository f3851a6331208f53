"""Files: written whole or not at all, compared, hashed, found, read safely."""

import csv
import os
import secrets
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmtvr.errors import FULL, SetupError, first_line
from mmtvr.sanitize import for_spreadsheet, for_terminal

#: Ending of a file that is still being written.
PARTIAL = '.partial'
HASH_CHUNK = 2**20
# That a message lists.
MAX_EXTENSIONS = 5
# Of torch.save before version 1.6: 0x1950a86a20f9469cfc6c, as a pickle.
MAGIC = bytes.fromhex('6cfc9c46f9206aa85019')
# fmt: off
VIDEO_EXTENSIONS = frozenset((
    '.3g2', '.3gp', '.asf', '.avi', '.divx', '.f4v', '.flv', '.gif', '.m2ts',
    '.m2v', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.mts', '.mxf',
    '.ogm', '.ogv', '.qt', '.rm', '.rmvb', '.ts', '.vob', '.webm', '.webp',
    '.wmv',
))
# fmt: on


@contextmanager
def atomic_path(
    path: str | Path, durable: bool = False, aside: Path | None = None
) -> Iterator[Path]:
    """Replace a file by one that is written under another name first.

    The name is unique, so several processes and threads may write the same
    file; the last one wins. Leaving the block with an error removes what was
    written and leaves ``path`` as it was.

    Args:
        path: The file; its folder is created if missing.
        durable: Also wait until the new name is on the disk. The content is
            the caller's task, see :func:`write_through`.
        aside: Folder, on the same file system, in which to write it first;
            that of ``path`` if None.

    Yields:
        Path that does not exist yet, to be written and closed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unique = f'{os.getpid()}-{secrets.token_hex(4)}'
    name = f'{path.name}.{unique}{PARTIAL}'
    partial = (aside or path.parent) / name
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def write_atomically(path: str | Path, content: bytes | str) -> None:
    """Write a file so that no fault, power cuts included, leaves half of it.

    Args:
        path: The file; its folder is created if missing.
        content: The whole content; a text becomes UTF-8.

    Raises:
        SetupError: The disk is full. An earlier file stays as it was.
    """
    path = Path(path)
    if isinstance(content, str):
        content = content.encode('utf-8', 'surrogateescape')
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < len(content):
        raise _disk_full(path, len(content), free)
    try:
        with atomic_path(path, durable=True) as partial:
            write_through(partial, content)
    except OSError as error:
        if error.errno in FULL:
            raise _disk_full(path, len(content), free) from error
        raise


def write_through(path: Path, content: bytes) -> None:
    """Write a file and wait until its content is on the disk."""
    with open(path, 'wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == 'nt':
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def remove_partial_files(folder: Path, pattern: str = '*') -> list[Path]:
    """Remove what killed runs left of files that they were writing.

    Args:
        folder: Where they wrote.
        pattern: Names of the whole files, as for :meth:`Path.glob`.

    Returns:
        What was removed.
    """
    # Earlier versions had no number in the name.
    found = {*folder.glob(pattern + PARTIAL)}
    found |= {*folder.glob(f'{pattern}.*{PARTIAL}')}
    for path in found:
        path.unlink(missing_ok=True)
    return sorted(found)


def _disk_full(path: Path, needed: int, free: int) -> SetupError:
    return SetupError(
        f'the disk is full: {path} needs {needed / 1e6:,.1f} MB, '
        f'{path.parent} has {free / 1e6:,.1f} MB free (or a quota ends there)'
    )


def write_csv(
    path: str | Path, header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Write a CSV file atomically; no cell is taken for a formula.

    Args:
        path: The file; its folder is created if missing.
        header: Names of the columns.
        rows: The cells; those that begin like a formula get an apostrophe,
            see :func:`mmtvr.sanitize.for_spreadsheet`.
    """
    with (
        atomic_path(path) as partial,
        partial.open(
            'w', newline='', encoding='utf-8', errors='surrogateescape'
        ) as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([for_spreadsheet(str(cell)) for cell in row])


class FileStamp(NamedTuple):
    """What shows that a file has changed, without reading it.

    Attributes:
        size: In bytes.
        mtime_ns: Last change of the content; programs can set it back.
        ctime_ns: Last change of content or metadata; they cannot set it.
        inode: Number of the file in its file system.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> 'FileStamp':
        """Take the stamp from what ``os.stat`` or ``os.fstat`` returns."""
        return cls(
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
        )

    @property
    def times(self) -> tuple[int, int]:
        """``mtime_ns`` and ``ctime_ns``."""
        return self.mtime_ns, self.ctime_ns


def hash_file(path: str | Path, size: int = 12) -> str:
    """Hash the content of a file.

    Indexes keep these values: they must not change.

    Args:
        path: The file.
        size: Bytes of the hash.

    Returns:
        Hexadecimal BLAKE2b.

    Raises:
        OSError: The file cannot be read.
    """
    digest = blake2b(digest_size=size)
    with open(path, 'rb', buffering=0) as file:
        while chunk := file.read(HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find_video_files(
    folder: str | os.PathLike[str],
    unreadable: dict[str, str],
    others: Counter[str] | None = None,
) -> Iterator[str]:
    """Find the video files of a folder and all folders in it.

    Links are followed, each real folder is visited once. Files count by
    their extension, see ``VIDEO_EXTENSIONS``; names that begin with a dot are
    left out.

    Args:
        folder: Where to look.
        unreadable: Receives the folders that cannot be read, links that
            lead nowhere and pipes, and why.
        others: Counts files with other extensions, in lower case.

    Yields:
        Paths that begin with ``folder``, sorted within each folder.
    """
    waiting, seen = [os.fspath(folder)], set()
    while waiting:
        current = waiting.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = sorted(os.scandir(current), key=lambda e: e.name)
        except OSError as error:
            unreadable[current] = error.strerror or str(error)
            continue
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            extension = os.path.splitext(entry.name)[1].lower()
            if _is(entry, os.DirEntry.is_dir):
                waiting.append(entry.path)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                # Without an extension, it may have led to a folder of videos.
                if not extension or extension in VIDEO_EXTENSIONS:
                    unreadable[entry.path] = (
                        f'a link to {os.readlink(entry.path)!r}, which leads '
                        'nowhere'
                    )
            elif not _is(entry, os.DirEntry.is_file):
                if extension in VIDEO_EXTENSIONS:
                    unreadable[entry.path] = 'it is not a regular file'
            elif extension in VIDEO_EXTENSIONS:
                yield entry.path
            elif others is not None:
                others[extension] += 1


def _is(entry: os.DirEntry, question: Callable[[Any], bool]) -> bool:
    try:
        return question(entry)
    except OSError:
        # A link that leads in a circle.
        return False


def describe_others(others: Mapping[str, int]) -> str:
    """List files that were left out: ``12 other files (9 .png, 3 .txt)``.

    Args:
        others: How many there are of each extension.
    """
    parts = [
        f'{count:,} {for_terminal(extension) or "without extension"}'
        for extension, count in sorted(
            others.items(), key=lambda item: (-item[1], item[0])
        )
    ]
    shown, more = parts[:MAX_EXTENSIONS], len(parts) - MAX_EXTENSIONS
    if more > 0:
        shown.append(f'{more} more kinds')
    total = sum(others.values())
    return f'{total:,} other file{"s" * (total > 1)} ({", ".join(shown)})'


def load_arrays(
    path: Path, expected: str
) -> np.ndarray | dict[str, np.ndarray]:
    """Read a .npy or a .npz without unpickling.

    Args:
        path: The file.
        expected: What it should hold, for the message.

    Returns:
        The array, or the arrays by name.

    Raises:
        SetupError: It is not there, is neither, holds Python objects, or
            announces more than fits into memory.
    """
    if not path.is_file():
        raise SetupError(f'there is no file {path} (from {Path.cwd()})')
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content:
            return dict(content)
    except Exception as error:
        # A header is parsed as Python, a member decompressed: each part has
        # exceptions of its own.
        reason = _describe_text(path) or first_line(error)
        raise SetupError(
            f'{path} cannot be read: {reason}. Expected {expected}.'
        ) from error


def _describe_text(path: Path) -> str:
    """Recognise a table in a text file; empty for anything else."""
    with path.open('rb') as file:
        start = file.read(4096)
    try:
        text = start.decode('utf-8-sig')
    except UnicodeDecodeError:
        return ''
    if not text.strip() or not text.replace('\n', ' ').isprintable():
        return ''
    return (
        'it is a text file; where it is a table of numbers, write it as '
        '.npy: '
        f"np.save('{path.stem}.npy', np.loadtxt('{path.name}', "
        "delimiter=','))"
    )


def recognize_file(path: Path) -> str:
    """Recognise files that are often taken for checkpoints.

    Only names in archives and first bytes are read; nothing is executed.

    Returns:
        What it is, and what to use in its place; empty where that is not
        known.
    """
    with path.open('rb') as file:
        start = file.read(512)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                parts = {name.partition('/')[2] for name in archive.namelist()}
        except (zipfile.BadZipFile, OSError):
            return ''
        if 'constants.pkl' in parts or any(
            p.startswith('code/') for p in parts
        ):
            return (
                'a TorchScript archive, which is a program, as OpenAI '
                'publishes CLIP. The same weights without a program: `hf '
                'download openai/clip-vit-base-patch32` (ViT-B-32; likewise '
                'openai/clip-vit-base-patch16 and '
                'openai/clip-vit-large-patch14), and name that repository as '
                'clip='
            )
        if any(name.endswith('.npy') for name in parts) or 'word' in parts:
            return 'an archive of something else'
        return ''
    if start.lstrip()[:1] in (b'{', b'['):
        return 'JSON text'
    if start.startswith(b'version https://git-lfs'):
        return 'a pointer of Git LFS: get the file itself with `git lfs pull`'
    if start[:200].lstrip().lower().startswith((b'<!doctype', b'<html')):
        return 'a page of a web site, as of a login: download the file again'
    is_pickle = start[:1] == b'\x80' and start[1:2] in b'\x02\x03\x04\x05'
    if is_pickle and not _is_legacy(start):
        return (
            'a bare pickle, which torch.save did not write and which runs '
            'what it names when it is loaded: get the weights as .safetensors'
        )
    return ''


def _is_legacy(start: bytes) -> bool:
    """Whether torch.save before version 1.6 wrote it: its magic number."""
    return MAGIC in start[:32]


def write_arrays(
    path: str | Path, content: Mapping[str, np.ndarray], compress: bool = False
) -> None:
    """Write a .npz atomically.

    Args:
        path: The file; its folder is created if missing.
        content: The arrays by name.
        compress: Take less space and more time.
    """
    save = np.savez_compressed if compress else np.savez
    # An open file: numpy would append .npz to the name.
    with atomic_path(path) as partial, partial.open('wb') as file:
        save(file, **content)
