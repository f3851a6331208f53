"""Read a config file, checked, or parse a config as plain data."""

import ast
import csv
import re
import sys
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmtvr
from mmtvr.config.check import check_config, merge_options, walk
from mmtvr.config.frozen import apply_frozen_features
from mmtvr.errors import SetupError, first_line
from mmtvr.registry import SCOPE

# Where the wheel puts configs/, and an editable install a link to it.
RECIPES = Path(mmtvr.__file__).parent / '.mim' / 'configs'
# Ends the names of recipes for data of one's own.
OWN = '_own'
# A registered name, alone or with the library whose registry has it.
SCOPES = (SCOPE, 'mmaction', 'mmengine')
KNOWN_TYPE = re.compile(rf'(?:(?:{"|".join(SCOPES)})\.)?[A-Za-z_]\w*')
TAGGER = re.compile(r'hanta(:de)?|spacy:\w+')
# Packages with configs, see `find_base`.
INSTALLED = ('mmtvr', 'mmaction')


def load_config(
    path: str,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    data: str | None = None,
) -> Config:
    """Read a config file, merge options, set ``work_dir`` and check keys.

    Args:
        path: The config file, the name of a recipe, see
            :func:`find_recipes`, or the work folder of a run.
        options: Dotted keys and values of ``--cfg-options``.
        work_dir: Folder for logs and checkpoints. Defaults to that of the
            config, else ``work_dirs/`` with the name of the config, in which
            that of the data takes the place of ``own``.
        data: Folder with annotation files and ``videos``: ``data_root`` of
            each stage.

    Raises:
        SetupError: The file or one of its bases does not exist, a key is
            unknown, ``model.encoder`` cannot be read, or the data is not
            there.
    """
    path = find_config(path)
    try:
        cfg = Config.fromfile(path)
    except SetupError:
        raise
    except FileNotFoundError as error:
        name = Path(error.filename or '').stem
        hint = f'; the recipe: _base_ = {SCOPE + "::" + name + ".py"!r}'
        hint = hint if name in find_recipes() else ''
        raise SetupError(f'{path} cannot be read: {error}{hint}') from error
    except SyntaxError as error:
        raise SetupError(
            f'{path}, or a file that it builds on, is no Python: line '
            f'{error.lineno}: {error.msg}'
        ) from error
    except Exception as error:
        # A config is a program of the user, with faults of any kind.
        *_, last = traceback.extract_tb(error.__traceback__)
        where = f'{last.filename}, line {last.lineno}'
        if 'mmengine' in Path(last.filename).parts:
            where = f'{path}, or a file that it builds on'
        raise SetupError(
            f'{where}: {type(error).__name__}: {first_line(error)}'
        ) from error
    if options:
        merge_options(cfg, options)
    name = Path(path).stem
    if data is not None:
        use_data(cfg, data)
        if name.endswith(OWN):
            name = name.removesuffix(OWN) + f'_{Path(data).resolve().name}'
    cfg.work_dir = (
        work_dir or cfg.get('work_dir') or str(Path('work_dirs', name))
    )
    init_default_scope(cfg.get('default_scope') or SCOPE)
    expand_encoder(cfg)
    apply_frozen_features(cfg)
    check_config(cfg)
    return cfg


_find_base_of_mmengine = Config._get_cfg_path


def find_base(base: str, config: str) -> tuple[str, str | None]:
    """Find a ``_base_`` of a config, also among those that are installed.

    ``mmtvr::dmae_own.py`` is a recipe, whatever the folder of the config;
    ``mmaction::FOLDER/NAME.py`` is one of mmaction2. mmengine 0.11 knows such
    names too, but neither mmtvr nor configs that lie in no folder, and stops
    at metafiles of mmaction2 that list several configs.

    Args:
        base: One entry of ``_base_``.
        config: The config file.

    Returns:
        Its path, and the scope of its types, None for that of the config.

    Raises:
        SetupError: It is not among those that are installed.
    """
    library, separator, name = base.partition('::')
    if not separator or library not in INSTALLED:
        return _find_base_of_mmengine(base, config)
    folder = RECIPES
    if library != SCOPE:
        (place,) = find_spec(library).submodule_search_locations
        folder = Path(place, '.mim', 'configs')
    path = folder / (name.removesuffix('.py') + '.py')
    if not path.is_file():
        names = [
            f'{library}::{each.relative_to(folder).as_posix()}'
            for each in folder.rglob('*.py')
        ]
        close = get_close_matches(base, names, n=3)
        guess = f'; there is {", ".join(close)}' if close else ''
        raise SetupError(f'_base_ of {config}: there is no {base}{guess}')
    return str(path), None


Config._get_cfg_path = staticmethod(find_base)


def use_data(cfg: Config, data: str) -> None:
    """Let all stages of a config read one folder of data.

    Args:
        cfg: Changed in place.
        data: Folder with the annotation files that the config names.

    Raises:
        SetupError: There is no such folder, or nothing in the config reads
            one.
    """
    if not Path(data).is_dir():
        raise SetupError(
            f'there is no folder of data {data} (looked from {Path.cwd()}); '
            '`mmtvr prepare table SOURCE --videos DIR` makes one'
        )
    nodes = [
        node
        for stage in ('train', 'val', 'test')
        for _, node in walk(cfg.get(f'{stage}_dataloader') or {})
        if 'data_root' in node
    ]
    if not nodes:
        raise SetupError(
            f'--data {data}: no dataset of the config has a data_root'
        )
    for node in nodes:
        node['data_root'] = data


def find_config(name: str) -> str:
    """Find a config by its path, the name of a recipe, or a work folder.

    Raises:
        SetupError: There is neither; names the closest recipes.
    """
    if Path(name).is_file():
        return name
    if is_work_folder(name):
        (config,) = Path(name).glob('*.py')
        return str(config)
    configs = sorted(each.name for each in Path(name).glob('*.py'))
    if configs:
        raise SetupError(
            f'the folder {name} holds {len(configs)} configs '
            f'({", ".join(configs[:3])}): name one of them'
        )
    recipes = find_recipes()
    stem = name.removesuffix('.py')
    if stem in recipes:
        return str(recipes[stem])
    close = get_close_matches(Path(stem).name, recipes, n=3)
    guess = f'; recipes with such a name: {", ".join(close)}' if close else ''
    raise SetupError(
        f'there is neither a config file {name} (looked from {Path.cwd()}) '
        f'nor a recipe of that name{guess}. `mmtvr recipes` lists all'
    )


def is_work_folder(path: str) -> bool:
    """Whether a folder is that of a run: it holds one config, as it ran."""
    return Path(path).is_dir() and len([*Path(path).glob('*.py')]) == 1


def find_recipes() -> dict[str, Path]:
    """The recipes that are installed with mmtvr.

    Returns:
        From the name, with its folder below ``configs`` if it is in one, to
        the config file.
    """
    return {
        path.relative_to(RECIPES).with_suffix('').as_posix(): path
        for path in sorted(RECIPES.rglob('*.py'))
        if '_base_' not in path.parts
    }


def read_recipes() -> list[dict[str, str]]:
    """List the recipes with their facts.

    Returns:
        The row of each recipe in ``configs/recipes.csv``, by column; those
        of a folder have no facts but their name.
    """
    with open(RECIPES / 'recipes.csv', encoding='utf-8', newline='') as file:
        reader = csv.DictReader(file)
        facts = {row['recipe']: row for row in reader}
    nothing = dict.fromkeys(reader.fieldnames or (), '')
    return [
        facts.get(name, {**nothing, 'recipe': name}) for name in find_recipes()
    ]


def expand_encoder(cfg: Config) -> None:
    """Replace ``model.encoder``, if there is one, by what it stands for.

    See :func:`mmtvr.config.encoder.apply_encoder`.
    """
    if 'encoder' in (cfg.get('model') or {}):
        # It loads transformers, which a config without the key does not need.
        from mmtvr.config.encoder import apply_encoder

        apply_encoder(cfg)


def parse_plain_config(text: str, where: str) -> Config:
    """Read what ``Config.pretty_text`` wrote, executing nothing.

    Args:
        text: Assignments of numbers, texts, lists, tuples and dicts.
        where: Where it comes from, for the message.

    Raises:
        SetupError: It is anything else, or names a type that is not one of
            mmtvr, mmaction2 or mmengine.
    """
    try:
        content = dict(map(_read_assignment, ast.parse(text).body))
        cfg = Config(content)
    except (SyntaxError, ValueError, TypeError, KeyError) as error:
        raise _refusal(
            where, f'it is no plain text of settings ({error})'
        ) from error
    except (RecursionError, MemoryError) as error:
        raise _refusal(where, 'it is nested too deeply') from error
    check_plain_types(content, where)
    return cfg


def check_plain_types(content: Any, where: str) -> None:
    """Refuse a type that no registry of mmtvr, mmaction2 or mmengine has.

    Args:
        content: Nested dicts and lists of a config from others.
        where: Where it comes from, for the message.

    Raises:
        SetupError: A type is no registered name, or could run code that is
            not a component, or names files that can.
    """
    for place, node in walk(content):
        for key in ('type', '_scope_'):
            kind = node.get(key)
            if kind is not None and not _is_registered_name(kind):
                raise _refusal(where, f'{place} has the {key} {kind!r:.80}')
        tagger = node.get('tagger')
        # spaCy loads folders too, and pickles in them.
        if isinstance(tagger, str) and not TAGGER.fullmatch(tagger):
            raise _refusal(where, f'{place} has the tagger {tagger!r:.80}')


def _is_registered_name(kind: Any) -> bool:
    if not isinstance(kind, str) or not KNOWN_TYPE.fullmatch(kind):
        return False
    library, _, name = kind.rpartition('.')
    # Where no registry has a name, mmengine 0.11 imports it as an attribute
    # or a module: mmengine.load would unpickle a file.
    if library:
        return not hasattr(sys.modules.get(library), name)
    is_module = name in sys.modules or find_spec(name) is not None
    return kind in SCOPES or not is_module


def _refusal(where: str, reason: str) -> SetupError:
    return SetupError(
        f'the config that {where} holds is not used, as it might run code: '
        f'{reason}. If you trust it, put it in a file and use that: '
        'mmtvr serve --config, or TextVideoSearcher(config).open(index)'
    )


def _read_assignment(statement: ast.stmt) -> tuple[str, Any]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, _read(value)
    raise ValueError(f'line {statement.lineno} is no assignment')


def _read(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=keywords):
            return {_key(each): _read(each.value) for each in keywords}
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {
                ast.literal_eval(key): _read(value) for key, value in pairs
            }
        case ast.List(elts=parts):
            return [_read(part) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(map(_read, parts))
    return ast.literal_eval(node)


def _key(keyword: ast.keyword) -> str:
    if keyword.arg is None:
        raise ValueError(f'line {keyword.value.lineno} has **')
    return keyword.arg
