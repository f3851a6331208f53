"""Let mmengine load checkpoints without running code from them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from mmengine.runner import CheckpointLoader

from mmtvr.checkpoints import read_checkpoint, set_trust
from mmtvr.errors import SetupError


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

    def load_from_elsewhere(address: str, map_location: Any = None) -> dict:
        del map_location
        raise SetupError(
            f'{address}: only files and http(s) addresses are loaded, the '
            'others without a look at what they run. Fetch the file and give '
            'its path.'
        )

    loaders: dict[str, Callable] = dict.fromkeys(
        CheckpointLoader._schemes, load_from_elsewhere
    )
    loaders |= dict.fromkeys(('http://', 'https://'), load_from_web)
    loaders[''] = load_from_file
    for prefix, loader in loaders.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


def download(address: str) -> Path:
    """Fetch a file once per machine.

    Args:
        address: An http(s) address.

    Returns:
        The file in PyTorch's cache folder.

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
