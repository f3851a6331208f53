"""Questions to a helper about a video file."""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from mmtvr.errors import SetupError
from mmtvr.video.helper_process import HelperProcess, get_helper
from mmtvr.video.messages import HelperEndedError
from mmtvr.video.reader import UnreadableVideoError


class DecoderFailedError(UnreadableVideoError):
    """The decoder took too long over a file or died of it."""


def ask_about(
    path: str,
    helper: HelperProcess,
    request: dict,
    seconds: float,
    time_limit: float,
) -> dict:
    """Ask a helper about a file, and raise what went wrong there.

    Args:
        path: The file, for messages.
        helper: The helper.
        request: See :meth:`HelperProcess.ask`.
        seconds: How long to wait.
        time_limit: How long the work on this file may take in all.

    Returns:
        The answer.

    Raises:
        DecoderFailedError: If it took too long or died.
        UnreadableVideoError: If the file is unreadable.
        SetupError: If something is missing.
        RuntimeError: After any other error, with its traceback.
    """
    try:
        answer = helper.ask(request, time.monotonic() + seconds)
    except TimeoutError as error:
        raise DecoderFailedError(
            f'{path}: gave up after {time_limit:g} s (time_limit)'
        ) from error
    except HelperEndedError as error:
        raise DecoderFailedError(f'{path}: {error}') from error
    if 'unreadable' in answer:
        raise UnreadableVideoError(answer['unreadable'])
    if 'no_memory' in answer:
        raise UnreadableVideoError(f'{path}: not enough memory')
    if 'setup' in answer:
        raise SetupError(answer['setup'])
    if 'fault' in answer:
        raise RuntimeError(
            f'{path}: the reader failed in its helper process:\n'
            f'{answer["fault"]}'
        )
    return answer


def call_in_helper(
    function: Callable[..., Any], path: str, time_limit: float
) -> Any:
    """Let the helper of this thread look at a file in another way.

    Args:
        function: Takes the path and returns what JSON can hold; the helper
            imports it by its name.
        path: The file.
        time_limit: Seconds that it may take.

    Returns:
        What the function returns. On Windows it is called in this process.

    Raises:
        DecoderFailedError: If it took too long or died.
        UnreadableVideoError: From the function.
    """
    if sys.platform == 'win32':
        return function(path)
    helper = get_helper()
    helper.opened += 1
    request = dict(do='call', **describe_reader(function))
    request['arguments'] = [path, *request['arguments']]
    return ask_about(path, helper, request, time_limit, time_limit)['value']


def describe_reader(reader: Callable[..., Any]) -> dict:
    """Say how a helper finds a reader or another function.

    Args:
        reader: A class or function, or a partial of one.

    Returns:
        Its ``module`` and ``name``, ``arguments`` and ``options``.

    Raises:
        ValueError: If it has no name in a module.
    """
    whole = reader if isinstance(reader, partial) else partial(reader)
    module = getattr(whole.func, '__module__', None)
    name = getattr(whole.func, '__qualname__', '<')
    if '<' in name or module in (None, '__main__'):
        raise ValueError(
            f'a helper process cannot import {whole.func}: put it into a '
            'module, or set time_limit=None'
        )
    return dict(
        module=module,
        name=name,
        arguments=list(whole.args),
        options=dict(whole.keywords),
    )
