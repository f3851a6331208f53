"""Write down what led to a loss or a gradient that is not finite."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

NAMES_SHOWN = 50
PART_DEPTH = 2
META_KEYS = ('filename', 'video_id', 'sample_idx', 'text')


def samples_of(data_batch: Any) -> list:
    """The data samples of a batch, so that its frames need not be kept.

    Args:
        data_batch: A batch as a loader yields it.

    Returns:
        Its data samples; empty where it has none.
    """
    if isinstance(data_batch, Mapping):
        return list(data_batch.get('data_samples') or [])
    if not isinstance(data_batch, Sequence):
        return []
    return [
        each['data_samples']
        for each in data_batch
        if isinstance(each, Mapping) and 'data_samples' in each
    ]


def describe_samples(samples: Sequence[Any]) -> list[dict]:
    """What data samples tell of themselves.

    Args:
        samples: Data samples of mmengine.

    Returns:
        File name, ids and captions of each, as far as it has them.
    """
    found = []
    for sample in samples:
        values = {key: sample.get(key) for key in META_KEYS}
        found.append({k: v for k, v in values.items() if v is not None})
    return found


def loss_terms(outputs: Any) -> dict[str, Tensor]:
    """The scalars of a training step.

    Args:
        outputs: What a model returns in mode ``'loss'``; a value may be a
            list of tensors, which mmengine adds up.

    Returns:
        Detached values by name, those of lists numbered.
    """
    terms = {}
    for name, value in outputs.items():
        many = isinstance(value, list | tuple)
        for number, each in enumerate(value if many else [value]):
            if isinstance(each, Tensor) and each.is_floating_point():
                key = f'{name}.{number}' if many else name
                terms[key] = each.detach().mean()
    return terms


def describe_gradients(
    named: Iterable[tuple[str, nn.Parameter]],
) -> dict[str, Any]:
    """Norms of the gradients, part by part.

    Args:
        named: Names and parameters of the model.

    Returns:
        ``norms`` of the parts of the model, ``not_finite``: the names of the
        parameters whose gradient has NaN or infinite values, and
        ``weights_not_finite``: those that have such values themselves.
    """
    squares: dict[str, float] = defaultdict(float)
    gradients, weights = [], []
    for name, parameter in named:
        if not torch.isfinite(parameter).all():
            weights.append(name)
        if parameter.grad is None:
            continue
        gradient = parameter.grad.detach().double()
        part = '.'.join(name.split('.')[:PART_DEPTH])
        squares[part] += gradient.square().sum().item()
        if not torch.isfinite(gradient).all():
            gradients.append(name)
    return dict(
        norms={part: total**0.5 for part, total in squares.items()},
        not_finite=_shorten(gradients),
        weights_not_finite=_shorten(weights),
    )


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, in which NaN and infinity are strings.

    Args:
        path: The file.
        record: Numbers, strings, lists and dicts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    part.write_text(
        json.dumps(_plain(record), indent=1, ensure_ascii=False),
        encoding='utf-8',
    )
    os.replace(part, path)


def _shorten(names: list[str]) -> list[str]:
    more = len(names) - NAMES_SHOWN
    return names[:NAMES_SHOWN] + ([f'and {more} more'] if more > 0 else [])


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not abs(value) < float('inf'):
        return str(value)
    return value if isinstance(value, int | float | str) else str(value)
