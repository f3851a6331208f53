"""Checkpoints from anywhere, loaded without running code from them."""

import hashlib
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import CheckpointLoader
from torch import serialization

from mmtvr.errors import SetupError, first_line

SAFETENSORS = '.safetensors'
#: Weights in the folder of a retriever.
WEIGHTS = 'model.safetensors'
LAST = 'last_checkpoint'
BEST = 'best_*.pth'
TRUST_HELP = (
    'load a checkpoint that is more than weights. This runs code that the '
    'file contains, with all your rights: only for files whose origin you '
    'trust like that of a program'
)


_trust = False


def set_trust(trust: bool) -> None:
    """Decide for this process whether checkpoints may run code."""
    global _trust
    _trust = trust


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
        resume if the file has it.

    Raises:
        SetupError: There is no such file, it is damaged or no checkpoint, or
            it is more than weights and not trusted.
    """
    trust = _trust if trust is None else trust
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


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint of a run.

    Args:
        path: A checkpoint, or the work folder of a run, of which the best
            checkpoint is taken, else the last one; or the folder of a
            retriever.

    Raises:
        SetupError: There is no checkpoint.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise SetupError(
            f'there is no checkpoint or work folder {path} (looked from '
            f'{Path.cwd()})'
        )
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    best = sorted(path.glob(BEST), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    note = path / LAST
    if note.is_file():
        # The run may have been moved since: what counts is its name.
        name = Path(note.read_text().strip()).name
        if (path / name).is_file():
            return path / name
    raise SetupError(
        f'{path} holds no checkpoint (neither {BEST} nor {LAST}): train '
        'first, `python tools/train.py CONFIG`'
    )


def guard_loading(trust: bool | None = None) -> None:
    """Make mmengine read every checkpoint by :func:`read_checkpoint`.

    ``load_from``, ``resume``, ``init_cfg`` and ``load_checkpoint`` follow.
    Files at http(s) addresses are downloaded first; other addresses of
    mmengine, whose loaders unpickle, are refused.

    Args:
        trust: Whether checkpoints may run code, in this process and from now
            on; None leaves it as it is. See :func:`read_checkpoint`.
    """
    if trust is not None:
        set_trust(trust)

    def load_from_file(path: str, map_location: Any = 'cpu') -> dict:
        return read_checkpoint(path, map_location)

    def load_from_web(address: str, map_location: Any = 'cpu') -> dict:
        return read_checkpoint(download(address), map_location)

    def refuse(address: str, map_location: Any = None) -> dict:
        raise SetupError(
            f'{address}: only files and http(s) addresses are loaded, the '
            'others without a look at what they run. Fetch the file and give '
            'its path.'
        )

    loaders: dict[str, Callable] = dict.fromkeys(
        CheckpointLoader._schemes, refuse
    )
    loaders |= dict.fromkeys(('http://', 'https://'), load_from_web)
    loaders[''] = load_from_file
    for prefix, loader in loaders.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


def download(address: str) -> Path:
    """Fetch an http(s) address once per machine, to PyTorch's cache folder.

    Raises:
        SetupError: It cannot be fetched.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(address.partition('?')[0]).name
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{digest}-{name}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{path}.lock'):
        if not path.is_file():
            try:
                torch.hub.download_url_to_file(address, str(path))
            except OSError as error:
                raise SetupError(
                    f'{address} cannot be fetched: {error}'
                ) from error
    return path


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
            f'something else: {first_line(error)}'
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
            f'something else: {first_line(error)}'
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
