"""Readers of video files as a configuration names them."""

from collections.abc import Callable
from functools import partial

from mmtvr.errors import SetupError
from mmtvr.registry import VIDEO_READERS
from mmtvr.video import (
    AutoReader,
    DecordReader,
    PyAVReader,
    TorchCodecReader,
    VideoReader,
)

__all__ = [
    'AutoReader',
    'DecordReader',
    'PyAVReader',
    'TorchCodecReader',
    'get_reader',
]

SHORT_NAMES = {
    'auto': 'mmtvr.AutoReader',
    'decord': 'mmtvr.DecordReader',
    'pyav': 'mmtvr.PyAVReader',
    'torchcodec': 'mmtvr.TorchCodecReader',
}
REMOVED = ('opencv', 'mmtvr.OpenCVReader')
for kind in (
    AutoReader,
    DecordReader,
    PyAVReader,
    TorchCodecReader,
):
    VIDEO_READERS.register_module(module=kind)


def get_reader(reader: str | dict) -> Callable[..., VideoReader]:
    """Class with options that opens a file: ``get_reader('auto')(path)``.

    Args:
        reader: A short name, as ``'auto'``, or a dict with ``type``, a
            registered name, and options of that class.

    Returns:
        A partial that can be pickled.

    Raises:
        SetupError: If there is no such reader, or none any more.
    """
    options = dict(reader) if isinstance(reader, dict) else dict(type=reader)
    name = options.pop('type', None)
    if name in REMOVED:
        raise SetupError(
            f'The reader {name!r} was removed: it gave wrong frames of 25 of '
            "190 kinds of files. Set reader='auto'"
        )
    kind = VIDEO_READERS.get(str(SHORT_NAMES.get(name, name)))
    if kind is None:
        raise SetupError(
            f'There is no reader {name!r} of videos; expected one of '
            f'{", ".join(SHORT_NAMES)}, or the name of a class registered in '
            'mmtvr.registry.VIDEO_READERS'
        )
    return partial(kind, **options)
