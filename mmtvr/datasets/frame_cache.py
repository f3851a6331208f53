"""The frame cache that a config asks for."""

import functools
import inspect
import logging
from collections.abc import Mapping
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from mmtvr.errors import SetupError
from mmtvr.video.cache import FrameCache, decoder_versions

#: Arguments that do not change frames.
WITHOUT_EFFECT = ('cache', 'time_limit')


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


def describe_loading(
    transform: BaseTransform, results: Mapping[str, Any]
) -> dict[str, Any]:
    """Say what the frames of a sample depend on, besides the file.

    Args:
        transform: Loads the frames. All arguments of its class count but
            those that only tell where and how long; each is an attribute.
        results: The sample, for its time span.

    Returns:
        JSON, all but what has to be shown by its ``repr``.
    """
    kind = type(transform)
    names = _argument_names(kind)
    options = {name: getattr(transform, name, None) for name in names}
    per_segment = transform.frame_cache.frames_per_segment
    return dict(
        transform=kind.__name__,
        options=options,
        kept=None if transform.test_mode else per_segment,
        span=[results.get('start'), results.get('end')],
        versions=decoder_versions(),
    )


@functools.cache
def _argument_names(kind: type) -> list[str]:
    names = inspect.signature(kind).parameters
    return [name for name in names if name not in WITHOUT_EFFECT]


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)
