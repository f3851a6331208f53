"""Where pretrained weights and tokenizers come from.

A name is a folder of the project (``mmtvr://moving-shapes-clip``), a local
folder in Hugging Face's layout, or a repository of the Hugging Face hub.
"""

import pickle
import socket
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import constants
from transformers.utils import logging as transformers_logging

from mmtvr.errors import SetupError, first_line
from mmtvr.files import recognize_file

SCHEME = 'mmtvr://'
ASSETS = Path(__file__).parent / 'assets'
CONNECT_SECONDS = 5

Loaded = TypeVar('Loaded')


# Where local folders are looked for that are not in the current one.
_also_in: list[Path] = []


def look_in(*folders: str | Path) -> None:
    """Look for local folders in these too, from now on in this process."""
    _also_in.extend(map(Path, folders))


def resolve_pretrained(name: str) -> str:
    """Turn a name into what ``from_pretrained`` understands.

    Args:
        name: ``mmtvr://<asset>``, whose folder is returned; a local folder,
            or a hub repository such as ``openai/clip-vit-base-patch32``.

    Raises:
        SetupError: If there is no such asset.
    """
    name = str(name)
    if not name.startswith(SCHEME):
        places = [Path(name), *(folder / name for folder in _also_in)]
        return str(next(filter(Path.is_dir, places), name))
    asset = name.removeprefix(SCHEME)
    folder = ASSETS / asset.replace('-', '_')
    if not folder.is_dir():
        present = sorted(
            SCHEME + path.name.replace('_', '-')
            for path in ASSETS.glob('*/')
            if (path / 'config.json').is_file()
        )
        raise SetupError(
            f'{name} does not ship with mmtvr; what does: '
            f'{", ".join(present) or "nothing"}.'
        )
    return str(folder)


def load_pretrained(loader: type[Loaded], name: str, **kwargs: Any) -> Loaded:
    """Call ``loader.from_pretrained`` and explain a failure in one message.

    The local cache is asked first, so that a cached model needs no network.

    Args:
        loader: A class of transformers with ``from_pretrained``.
        name: See :func:`resolve_pretrained`.
        **kwargs: Passed to ``from_pretrained``.

    Raises:
        SetupError: If the folder is not there or lacks a file, or the
            repository is neither cached nor can be fetched.
    """
    location = resolve_pretrained(name)
    try:
        return _load(loader, location, **kwargs)
    except pickle.UnpicklingError as error:
        raise SetupError(
            f'The weights in {location} are damaged, or a pickle that is more '
            'than weights and would run code that it contains. Use a folder '
            'with model.safetensors, which holds no code.'
        ) from error


def _load(loader: type[Loaded], location: str, **kwargs: Any) -> Loaded:
    try:
        return _load_quietly(loader, location, local_files_only=True, **kwargs)
    except (OSError, ValueError) as error:
        if Path(location).is_dir():
            raise SetupError(
                f'{location} is a folder, but {loader.__name__} cannot be '
                f'loaded from it: {first_line(error)}'
            ) from error
    if Path(location).is_file():
        kind = recognize_file(Path(location)) or 'a single file'
        raise SetupError(
            f'{location} is {kind}. Pretrained weights are named by a folder '
            'in the layout of Hugging Face, or a repository of its hub'
        )
    if location.startswith(('.', '/', '~')) or location.count('/') != 1:
        raise SetupError(
            f'There is no folder {Path(location).absolute()} with pretrained '
            'weights. Give a folder in the layout of Hugging Face, or the '
            'name of a repository of its hub.'
        )
    _require_hub(location)
    try:
        return _load_quietly(loader, location, **kwargs)
    except (OSError, ValueError) as error:
        raise SetupError(
            f'{_missing(location)} The hub answers: {first_line(error)}'
        ) from error


def _load_quietly(loader: Any, location: str, **kwargs: Any) -> Any:
    """``from_pretrained`` without the report on the other tower's weights."""
    level = transformers_logging.get_verbosity()
    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        # None would ask at a terminal whether to run a folder's code.
        return loader.from_pretrained(
            location, trust_remote_code=False, **kwargs
        )
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()


def _require_hub(name: str) -> None:
    """Fail within seconds where the library would retry for a minute."""
    if constants.HF_HUB_OFFLINE:
        raise SetupError(f'{_missing(name)} HF_HUB_OFFLINE is set.')
    endpoint = urlsplit(constants.ENDPOINT)
    if endpoint.scheme in urllib.request.getproxies():
        return
    port = endpoint.port or (443 if endpoint.scheme == 'https' else 80)
    try:
        address = (endpoint.hostname, port)
        with closing(socket.create_connection(address, CONNECT_SECONDS)):
            return
    except OSError as error:
        raise SetupError(
            f'{_missing(name)} {constants.ENDPOINT} cannot be reached '
            f'({error}).'
        ) from error


def _missing(name: str) -> str:
    return (
        f'The pretrained weights or tokenizer {name} are not on this machine: '
        f'not a folder of {Path.cwd()}, not in the cache '
        f'{constants.HF_HUB_CACHE}. Fetch them with `hf download {name}` '
        'where there is a network, and give the folder (or copy the cache).'
    )
