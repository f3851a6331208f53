"""The frame cache that a config asks for."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

from mmtvr.errors import SetupError
from mmtvr.video.cache import FrameCache


def open_cache(options: Mapping[str, Any]) -> FrameCache:
    """Open a frame cache.

    Args:
        options: Arguments of :class:`mmtvr.video.cache.FrameCache`, the
            ``folder`` at least.

    Returns:
        The cache; when it stops storing, the log of the run says so.

    Raises:
        SetupError: If an option is unknown or the folder is a file.
        ValueError: If an option is out of its range.
    """
    known = [*inspect.signature(FrameCache).parameters]
    unknown = [name for name in options if name not in known]
    if unknown or not options.get('folder'):
        raise SetupError(
            f'cache={dict(options)} of LoadVideoFrames: expected folder and '
            f'optionally {", ".join(known[1:-1])}'
        )
    cache = FrameCache(**options, warn=_warn)
    if cache.folder.exists() and not cache.folder.is_dir():
        raise SetupError(
            f'{cache.folder} is to be the folder of the frame cache, but is '
            'a file; name another in cache=dict(folder=...)'
        )
    return cache


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)
