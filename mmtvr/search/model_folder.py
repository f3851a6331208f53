"""A retriever as a folder that loads anywhere and runs no code.

``config.json`` has the settings of the model and of its test pipeline,
``model.safetensors`` all weights, ``calibration.json`` what its scores mean,
where that is known, and ``pretrained/NAME`` what a tokenizer, a processor and
a tower of transformers are built from. The settings name
such a folder ``folder://NAME``.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import Registry
from safetensors.torch import save_file
from torch import Tensor

from mmtvr import __version__
from mmtvr.checkpoints import WEIGHTS
from mmtvr.config import check_plain_types, walk
from mmtvr.errors import SetupError, first_line
from mmtvr.files import atomic_path, write_atomically
from mmtvr.pretrained import SCHEME as SHIPPED
from mmtvr.pretrained import copy_settings, loaded_names
from mmtvr.registry import MODELS, SCOPE, TRANSFORMS, VIDEO_READERS
from mmtvr.search.calibration import FILE as CALIBRATION

CONFIG = 'config.json'
PRETRAINED = 'pretrained'
SCHEME = 'folder://'
TUPLE = '__tuple__'
FORMAT = 1
#: What a folder consists of, for a hub.
FILES = [CONFIG, WEIGHTS, CALIBRATION, 'README.md', f'{PRETRAINED}/*']
# A loss compares no text with a video; a cache is a folder of this machine.
NOT_CARRIED = ('contrastive_loss', 'cached_contrastive', 'cache', 'init_cfg')
NAME = re.compile(r'\w[\w.-]*')
HUB_NAME = re.compile(r'[\w-][\w.-]*/[\w.-]+')
MAX_SETTINGS = 2**20


class ModelFolder(NamedTuple):
    """What the folder of a retriever holds.

    Attributes:
        config: Settings as ``RetrievalEncoder`` takes them.
        weights: The file with the weights.
        name: What the model was called when it was saved.
        base_models: Hub repositories that the towers came from.
    """

    config: Config
    weights: Path
    name: str
    base_models: list[str]


def is_model_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder with settings and weights."""
    return all(Path(path, name).is_file() for name in (CONFIG, WEIGHTS))


def read_model_folder(folder: str | os.PathLike[str]) -> ModelFolder:
    """Read the settings of a retriever; nothing in them is executed.

    Raises:
        SetupError: A file is missing or of another format, or the settings
            name a type that is no component.
    """
    folder = Path(folder).absolute()
    if not is_model_folder(folder):
        raise SetupError(
            f'{folder} is no folder of a retriever: it must hold {CONFIG} and '
            f'{WEIGHTS}, as Retriever.save_pretrained and `mmtvr export` '
            'write them'
        )
    path = folder / CONFIG
    if path.stat().st_size > MAX_SETTINGS:
        raise SetupError(f'{path} is larger than {MAX_SETTINGS} bytes')
    try:
        content = json.loads(path.read_text('utf-8'))
    except (ValueError, RecursionError) as error:
        raise SetupError(f'{path} is no JSON: {first_line(error)}') from error
    content = _read_tuples(content)
    _check(content, path)
    check_plain_types(content, str(folder))
    _require_registered(content, path)
    pipeline = [_without(each, NOT_CARRIED) for each in content['pipeline']]
    loader = dict(
        batch_size=content['batch_size'], dataset=dict(pipeline=pipeline)
    )
    config = Config(
        dict(
            default_scope='mmtvr',
            model=_without(content['model'], NOT_CARRIED),
            test_dataloader=loader,
        )
    )
    return ModelFolder(
        config, folder / WEIGHTS, content['name'], content['base_models']
    )


def _check(content: Any, path: Path) -> None:
    """Check the form of the settings; their types are checked elsewhere."""
    if not isinstance(content, dict) or content.get('library') != 'mmtvr':
        raise SetupError(
            f'{path} is not of a retriever: it must have "library": "mmtvr"'
        )
    if content.get('format') != FORMAT:
        raise SetupError(
            f'{path} has format {content.get("format")!r}, this version of '
            f'mmtvr reads {FORMAT}'
        )
    expected = dict(
        name=str, model=dict, pipeline=list, batch_size=int, base_models=list
    )
    for key, kind in expected.items():
        if not isinstance(content.get(key), kind):
            raise SetupError(f'{path} has no {key} ({kind.__name__})')
    if not all(isinstance(each, dict) for each in content['pipeline']):
        raise SetupError(f'{path}: pipeline must be a list of objects')


def _require_registered(content: dict[str, Any], path: Path) -> None:
    """Refuse a part of mmtvr that is not registered, before any is built."""
    nodes = [((MODELS,), node) for _, node in walk(content['model'])]
    in_pipeline = (TRANSFORMS, VIDEO_READERS)
    nodes += [(in_pipeline, node) for _, node in walk(content['pipeline'])]
    for registries, node in nodes:
        kind = node.get('type')
        if not str(kind).startswith(f'{SCOPE}.'):
            continue
        if not any(_has(registry, kind) for registry in registries):
            raise SetupError(
                f'{path} names {kind}, which is no registered '
                f'{registries[0].name}: it may need a newer mmtvr, or the '
                'project that registers it imported first'
            )


def _has(registry: Registry, kind: str) -> bool:
    try:
        return registry.get(kind) is not None
    except RuntimeError:
        return False


def place_files(node: Any, folder: Path) -> Any:
    """Replace ``folder://NAME`` in settings by the folder that it names.

    Args:
        node: Nested dicts, lists and tuples; a changed copy is returned.
        folder: The folder of the retriever.

    Raises:
        SetupError: There is no such folder in it.
    """
    if isinstance(node, Mapping):
        return {key: place_files(each, folder) for key, each in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(place_files(each, folder) for each in node)
    if not isinstance(node, str) or not node.startswith(SCHEME):
        return node
    name = node.removeprefix(SCHEME)
    place = folder.absolute() / PRETRAINED / name
    if not NAME.fullmatch(name) or not place.is_dir():
        raise SetupError(
            f'the settings name {node!r}, but {folder} has no folder '
            f'{PRETRAINED}/{name}'
        )
    return str(place)


def write_model_folder(
    folder: Path,
    name: str,
    model: Mapping[str, Any],
    pipeline: Sequence[Mapping[str, Any]],
    batch_size: int,
    weights: Mapping[str, Tensor],
    base_models: Sequence[str] = (),
) -> None:
    """Write all of a retriever but its model card.

    Args:
        folder: The folder; made if need be.
        name: What to call the model.
        model: Settings of the model, which has been built in this process.
        pipeline: Settings of the test pipeline, likewise.
        batch_size: Videos encoded at a time.
        weights: The state dict of the model.
        base_models: Hub repositories that the towers came from, besides
            those that the settings name.

    Raises:
        SetupError: A setting is no JSON, or the files of a tower are gone.
    """
    settings = dict(
        model=_without_weights(_without(model, NOT_CARRIED)),
        pipeline=[_without(each, NOT_CARRIED) for each in pipeline],
    )
    names = loaded_names() & set(_strings(settings))
    places: dict[str, str] = {}
    for each in sorted(names):
        places[each] = _choose_name(each, places.values())
        copy_settings(each, folder / PRETRAINED / places[each])
    from_hub = [
        each
        for each in sorted(names)
        if HUB_NAME.fullmatch(each) and not Path(each).is_dir()
    ]
    content = dict(
        library='mmtvr',
        format=FORMAT,
        mmtvr_version=__version__,
        name=name,
        base_models=sorted({*base_models, *from_hub}),
        batch_size=batch_size,
        **_rename(settings, places),
    )
    try:
        text = json.dumps(_write_tuples(content), indent=2)
    except TypeError as error:
        raise SetupError(
            f'the settings cannot be written as JSON ({error}): name types by '
            'their registered name'
        ) from error
    # Tensors that share memory, such as tied weights, are written apart.
    apart = {
        key: value.detach().cpu().clone().contiguous()
        for key, value in weights.items()
    }
    write_atomically(folder / CONFIG, text + '\n')
    with atomic_path(folder / WEIGHTS) as partial:
        save_file(apart, partial, {'format': 'pt'})
        # safetensors lets nobody else read them.
        partial.chmod((folder / CONFIG).stat().st_mode)


def _without_weights(model: dict[str, Any]) -> dict[str, Any]:
    """Let parts that fetch weights by themselves be built without them."""
    changed = {
        key: _without_weights(value) if isinstance(value, dict) else value
        for key, value in model.items()
    }
    kind = changed.get('type')
    component = MODELS.get(kind) if isinstance(kind, str) else None
    if hasattr(component, 'without_weights'):
        return component.without_weights(changed)
    return changed


def _without(node: Any, keys: Sequence[str]) -> Any:
    """A copy of nested settings, as plain dicts, without some keys."""
    if isinstance(node, Mapping):
        return {k: _without(v, keys) for k, v in node.items() if k not in keys}
    if isinstance(node, list | tuple):
        return type(node)(_without(each, keys) for each in node)
    return node


def _write_tuples(node: Any) -> Any:
    """Mark tuples, which JSON does not have and mmaction2 insists on."""
    if isinstance(node, dict):
        return {key: _write_tuples(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        parts = [_write_tuples(each) for each in node]
        return {TUPLE: parts} if isinstance(node, tuple) else parts
    return node


def _read_tuples(node: Any) -> Any:
    if isinstance(node, dict):
        if set(node) == {TUPLE} and isinstance(node[TUPLE], list):
            return tuple(_read_tuples(each) for each in node[TUPLE])
        return {key: _read_tuples(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_read_tuples(each) for each in node]
    return node


def _strings(settings: Any) -> list[str]:
    return [
        value
        for _, node in walk(settings)
        for key, value in node.items()
        if isinstance(value, str) and key != 'type'
    ]


def _rename(node: Any, places: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            key: value if key == 'type' else _rename(value, places)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return type(node)(_rename(each, places) for each in node)
    if isinstance(node, str) and node in places:
        return SCHEME + places[node]
    return node


def _choose_name(name: str, taken: Any) -> str:
    """The last part of a name, with a number where that is taken."""
    last = name.removeprefix(SHIPPED).rstrip('/\\').replace('\\', '/')
    last = re.sub(r'[^\w.-]+', '-', last.rpartition('/')[2]).lstrip('.-')
    chosen, number = last or 'tower', 2
    while chosen in taken:
        chosen, number = f'{last}-{number}', number + 1
    return chosen
