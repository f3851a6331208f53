"""Compare two checkpoints of a training bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from mmtvr.checkpoints import read_checkpoint


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in two checkpoints.

    Args:
        one: A checkpoint of :class:`mmtvr.engine.AtomicCheckpointHook`.
        other: Another one.

    Returns:
        The names of the parts that differ.
    """
    first, second = read_parts(one), read_parts(other)
    return sorted(
        name
        for name in first.keys() | second.keys()
        if name not in first
        or name not in second
        or not same(first[name], second[name])
    )


def read_parts(path: Path) -> dict[str, Any]:
    """Everything of a checkpoint that is no clock, path or memory.

    Args:
        path: The checkpoint.

    Returns:
        Tensors and values by their places.
    """
    return dict(parts(read_checkpoint(path)))


def parts(checkpoint: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Weights, optimiser, schedules, metrics and losses of a checkpoint."""
    for name in ('state_dict', 'optimizer', 'param_schedulers'):
        yield from flat(checkpoint[name], name)
    hub = checkpoint['message_hub']
    for name, history in hub['log_scalars'].items():
        if not any(word in name for word in ('time', 'memory', 'per_second')):
            yield name, history['values']
    for name in ('best_score', 'mmtvr_best', 'mmtvr_last'):
        yield name, hub['runtime_info'].get(name)


def flat(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Tensors and values of nested dicts and lists by their places."""
    if isinstance(node, dict | list | tuple):
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in pairs:
            yield from flat(value, f'{place}.{key}')
    else:
        yield place, node


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in every bit."""
    if torch.is_tensor(one):
        return one.numpy().tobytes() == other.numpy().tobytes()
    return one == other
