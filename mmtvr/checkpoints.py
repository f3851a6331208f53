"""Checkpoints from anywhere, loaded without running what they contain.

A ``.pth`` file is a pickle, which is a program: loading one as it stands runs
any code that its author put in. Here a file is taken for its tensors and
numbers only, by PyTorch's restricted reader (``weights_only``), with the few
harmless types that mmengine's checkpoints hold beside them.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from torch import serialization

from mmtvr.errors import SetupError

SAFETENSORS = '.safetensors'
TRUST_HELP = (
    'load a checkpoint that is more than weights. This runs code that the '
    'file contains, with all your rights: only for files whose origin you '
    'trust like that of a program'
)


class _Inert:
    """What stands for a class or a function that is not called.

    mmengine's log history names ``getattr`` to find its own methods again.
    """

    def __new__(cls, *_: object) -> '_Inert':
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


class _History:
    """A ``HistoryBuffer`` before it is rebuilt from its numbers."""

    def __setstate__(self, state: dict) -> None:
        self.numbers = [
            np.asarray(state.get(name, ()), dtype=float).reshape(-1)
            for name in ('_log_history', '_count_history')
        ]


def _harmless() -> list[Any]:
    """What mmengine's checkpoints hold beside tensors, by its full name."""
    core = 'numpy._core.multiarray', 'numpy.core.multiarray'
    rebuild = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    kinds = 'bBhHiIlLqQefd'
    return [
        *((rebuild, f'{module}._reconstruct') for module in core),
        *((scalar, f'{module}.scalar') for module in core),
        *{type(np.dtype(kind)) for kind in kinds},
        np.ndarray,
        np.dtype,
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_Inert, 'builtins.getattr'),
        (_Inert, '__builtin__.getattr'),
    ]


_decision = {'trust': False}


def set_trust(trust: bool) -> None:
    """Decide for this process whether checkpoints may run code.

    Args:
        trust: What ``--trust-checkpoint`` says.
    """
    _decision['trust'] = trust


def is_trusting() -> bool:
    """Whether checkpoints may run code in this process.

    Returns:
        What :func:`set_trust` decided; False before it.
    """
    return _decision['trust']


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu', trust: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A ``.safetensors`` file with weights, or what ``torch.save``
            wrote: mmengine's ``.pth`` or a bare state dict.
        map_location: See :func:`torch.load`.
        trust: Load what is more than weights and numbers too, which runs
            code that the file contains. None: as :func:`set_trust` decided
            for this process, by default not.

    Returns:
        A dict with at least ``state_dict``; all that a training run needs to
        go on if the file has it.

    Raises:
        SetupError: There is no such file, it is damaged or no checkpoint, or
            it is more than weights and not trusted.
    """
    trust = is_trusting() if trust is None else trust
    path = Path(path).expanduser()
    if not path.is_file():
        raise SetupError(
            f'there is no checkpoint {path} (looked from {Path.cwd()})'
        )
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    content = _load(path, map_location, trust)
    if not isinstance(content, dict):
        raise SetupError(
            f'{path} is no checkpoint: it holds a {type(content).__name__}, '
            'expected a dict with the weights by name'
        )
    if 'state_dict' not in content:
        content = {'state_dict': content}
    return content if trust else _without_code(content, path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return {'state_dict': weights, 'meta': file.metadata() or {}}
    except (SafetensorError, OSError) as error:
        raise SetupError(f'{path} is no safetensors file: {error}') from error


def _load(path: Path, map_location: Any, trust: bool) -> object:
    try:
        with serialization.safe_globals(_harmless()):
            return torch.load(
                path, map_location=map_location, weights_only=True
            )
    except pickle.UnpicklingError as error:
        wanted = _named_in(error)
        if not trust or not wanted:
            raise _refusal(path, wanted, error) from error
    except Exception as error:
        raise SetupError(
            f'{path} cannot be read as a checkpoint, it is damaged or '
            f'something else: {_first_line(error)}'
        ) from error
    print_log(f'{path} is trusted: code in it runs now.', 'current')
    return torch.load(path, map_location=map_location, weights_only=False)


def _named_in(error: Exception) -> str:
    """The class or function that a pickle asked for; empty if none."""
    found = re.search(r'GLOBAL (\S+)|function (.+?)(?:\n|$)', str(error))
    return next(filter(None, found.groups())) if found else ''


def _refusal(path: Path, wanted: str, error: Exception) -> SetupError:
    if not wanted:
        return SetupError(
            f'{path} cannot be read as a checkpoint, it is damaged or '
            f'something else: {_first_line(error)}'
        )
    return SetupError(
        f'{path} is more than weights: it asks for {wanted}, and loading it '
        'would run code that the file contains. Get it as .safetensors, '
        'which holds no code; or, if you trust where it comes from like a '
        'program, add --trust-checkpoint (where a command has no such flag: '
        'python tools/to_safetensors.py FILE NEW.safetensors '
        '--trust-checkpoint).'
    )


def _without_code(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Rebuild the log history, and drop what a resumed run would execute."""
    meta = content.get('meta')
    if isinstance(meta, dict) and 'config' in meta:
        # Runner.resume runs this text as Python.
        meta.pop('config')
        print_log(f'{path}: the Python text in meta.config is left out.')
    hub = content.get('message_hub')
    if isinstance(hub, dict) and isinstance(hub.get('log_scalars'), dict):
        for name, history in hub['log_scalars'].items():
            if isinstance(history, _History):
                hub['log_scalars'][name] = HistoryBuffer(*history.numbers)
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
