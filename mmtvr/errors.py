"""Errors that users read, and what the operating system refused."""

import errno
import re
from importlib import import_module
from types import ModuleType


class SetupError(Exception):
    """Something that the user must provide or correct before work can start.

    The message names what is missing or wrong, where it was looked for, and
    the command or the setting that fixes it. ``tools/*.py`` print it alone and
    exit with status 1.
    """


class NonFiniteError(Exception):
    """Numbers of a training that can no longer be used.

    The message says what is not finite and in which file it is written down;
    ``tools/*.py`` print it alone and exit with status 1.
    """


def import_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency where it is needed.

    Args:
        module: Dotted name of the module.
        extra: The extra of mmtvr that installs it.
        purpose: What needs it, as the subject of a sentence.

    Raises:
        SetupError: Its package is not installed. A package that is installed
            and fails to import raises its own error.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition('.')[0]
        if (error.name or '').partition('.')[0] != package:
            raise
        raise SetupError(
            f'{purpose} needs {package}, which is not installed: '
            f"pip install 'mmtvr[{extra}]'"
        ) from error


#: No room: the disk, a quota, or the limit of a file.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: No right: of the user, or of anybody where a disk is mounted to be read.
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
#: A file where a folder is needed, or a folder where a file is.
OTHER_KIND = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
#: Of a process, or of the machine.
TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
#: A path from the root, as messages have it.
PATH = re.compile(r'(?<![\w.])(/|[A-Za-z]:\\)\w')
#: Advice of libraries to switch off what protects the user.
FORBIDDEN = re.compile(
    'weights_only|allow_pickle|trust_remote_code|unsafe|pickled', re.IGNORECASE
)
IN_RUST = re.compile(r'\(os error (\d+)\)')


def find_errno(error: BaseException) -> int | None:
    """Find the number by which the operating system refused something.

    Args:
        error: Of Python, or of a library in Rust, which has the number in its
            text alone, also where it raises an OSError.

    Returns:
        One of :mod:`errno`, or None where the error is another one.

    Example:
        >>> find_errno(RuntimeError('lance: no space left (os error 28)'))
        28
    """
    if not isinstance(error, OSError | RuntimeError):
        return None
    number = getattr(error, 'errno', None)
    found = IN_RUST.search(str(error))
    return int(found[1]) if number is None and found else number


def names_file(error: BaseException) -> bool:
    """Whether an error of the operating system says for which file.

    Args:
        error: See :func:`find_errno`.

    Returns:
        False where the text alone helps nobody, as that of a semaphore which
        cannot be made.

    Examples:
        >>> names_file(PermissionError(13, 'Permission denied'))
        False
        >>> names_file(OSError('cannot open /data/x: denied (os error 13)'))
        True
    """
    if getattr(error, 'errno', None) is not None:
        return error.filename is not None
    return PATH.search(str(error)) is not None


def first_line(error: BaseException) -> str:
    """First line of the message of an error; its type if it has none.

    Without sentences that advise what mmtvr does not allow, such as to load a
    file without protection.
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if not FORBIDDEN.search(line):
        return line
    kept = [
        sentence
        for sentence in re.split(r'(?<=[.:;])\s+', line)
        if not FORBIDDEN.search(sentence)
    ]
    return (
        ' '.join(kept).rstrip(':; ') or 'it might run code when it is loaded'
    )
