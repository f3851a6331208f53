"""What the message hub holds, as plain data that loads without running code.

mmengine pickles its log histories as objects that name functions, and numpy's
scalars as calls. ``torch.load(..., weights_only=True)`` refuses both.
"""

import logging
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor

HISTORY = {'values', 'counts', 'max_length'}


def plain_hub(state: Mapping[str, Any]) -> dict[str, Any]:
    """Make the state of a message hub plain.

    Args:
        state: From ``MessageHub.state_dict``.

    Returns:
        The same in dicts, lists, numbers, strings and tensors. Of the
        information, what is nothing of these is left out, with a warning.
    """
    infos = {}
    for name, value in state['runtime_info'].items():
        try:
            infos[name] = plain(value)
        except TypeError as error:
            print_log(
                f'{name} of the message hub is not saved: {error}',
                'current',
                logging.WARNING,
            )
    scalars = {
        name: history_to_plain(history)
        for name, history in state['log_scalars'].items()
    }
    return dict(
        log_scalars=scalars,
        runtime_info=infos,
        resumed_keys={
            name: bool(resumed)
            for name, resumed in state['resumed_keys'].items()
            if name in scalars or name in infos
        },
    )


def hub_with_histories(state: Mapping[str, Any]) -> dict[str, Any]:
    """Give mmengine its log histories back.

    Args:
        state: From :func:`plain_hub`; from mmengine itself it stays as it is.

    Returns:
        What ``MessageHub.load_state_dict`` takes.
    """
    scalars = {
        name: plain_to_history(value)
        if isinstance(value, dict) and value.keys() == HISTORY
        else value
        for name, value in state['log_scalars'].items()
    }
    return {**state, 'log_scalars': scalars}


def history_to_plain(history: HistoryBuffer) -> dict[str, Any]:
    """Make a log history plain.

    Args:
        history: N values with their counts.

    Returns:
        ``values`` and ``counts``, tensors of shape (N,), and ``max_length``.
    """
    values, counts = (torch.from_numpy(part.copy()) for part in history.data)
    return dict(values=values, counts=counts, max_length=history.max_length)


def plain_to_history(state: Mapping[str, Any]) -> HistoryBuffer:
    """Undo :func:`history_to_plain`.

    Args:
        state: Its result.

    Returns:
        The history.
    """
    return HistoryBuffer(
        state['values'].cpu().numpy(),
        state['counts'].cpu().numpy(),
        state['max_length'],
    )


def plain(value: Any) -> Any:
    """Make a value plain.

    Args:
        value: Anything.

    Returns:
        The same in built-in types and tensors.

    Raises:
        TypeError: It holds something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | PurePath):
        return str(value) if isinstance(value, PurePath) else value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        kind = next(k for k in (list, tuple, set) if isinstance(value, k))
        return kind(plain(each) for each in value)
    if value is None or isinstance(value, str | int | float | bool | Tensor):
        return value
    raise TypeError(f'{type(value).__name__} is no plain data')
