"""Read a config, check its keys and types, or parse one as plain data."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope

from mmtvr import registry as nodes
from mmtvr.errors import SetupError

NOT_ARGUMENTS = {'type', '_scope_', '_delete_'}
RUNNER_EXTRAS = (
    'auto_scale_lr',
    'custom_imports',
    'env_cfg',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
)
# A registered name, alone or with the library whose registry has it.
KNOWN_TYPE = re.compile(r'(?:(?:mmtvr|mmaction|mmengine)\.)?[A-Za-z_]\w*')


def load_config(
    path: str,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
) -> Config:
    """Read a config file, merge options, set ``work_dir`` and check keys.

    Args:
        path: The config file.
        options: Dotted keys and values of ``--cfg-options``.
        work_dir: Folder for logs and checkpoints. Defaults to that of the
            config, else ``work_dirs/`` with the name of the config.

    Raises:
        SetupError: The file or one of its bases does not exist, a key is
            unknown, or ``model.encoder`` cannot be read.
    """
    if not Path(path).is_file():
        raise SetupError(
            f'the config {path} does not exist (looked from {Path.cwd()})'
        )
    try:
        cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise SetupError(f'{path} cannot be read: {error}') from error
    if options:
        check_options(cfg, options)
        cfg.merge_from_dict(dict(options))
    cfg.work_dir = (
        work_dir
        or cfg.get('work_dir')
        or str(Path('work_dirs', Path(path).stem))
    )
    init_default_scope(cfg.get('default_scope') or nodes.SCOPE)
    expand_encoder(cfg)
    check_config(cfg)
    return cfg


def expand_encoder(cfg: Config) -> None:
    """Replace ``model.encoder``, if there is one, by what it stands for.

    See :func:`mmtvr.config.encoder.apply_encoder`.
    """
    if 'encoder' in (cfg.get('model') or {}):
        # It loads transformers, which a config without the key does not need.
        from mmtvr.config.encoder import apply_encoder

        apply_encoder(cfg)


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check the first name of each ``--cfg-options`` key.

    mmengine ignores a top-level key that it does not know.

    Args:
        cfg: The config as the file has it, options not yet merged.
        options: Dotted keys and values.

    Raises:
        SetupError: A name is neither in the config nor known to the runner.
    """
    # Half of mmengine; a config without options does not need it.
    from mmengine.runner import Runner

    known = {*cfg, *inspect.signature(Runner).parameters, *RUNNER_EXTRAS}
    for option in options:
        name = option.split('.')[0]
        if name not in known:
            raise SetupError(
                f'--cfg-options {option}: the config has no `{name}`'
                f'{_guess(name, known)}'
            )


def check_config(cfg: Config) -> None:
    """Check type and arguments of each ``dict(type=...)`` of mmtvr.

    Raises:
        SetupError: A component of mmtvr does not exist or has no such
            argument; names the place and the closest match.
    """
    scope = cfg.get('default_scope')
    faults = {}
    for place, node in walk(cfg.to_dict()):
        for fault in find_faults(node, scope):
            faults.setdefault(fault, place)
    if faults:
        lines = [f'  {place}: {fault}' for fault, place in faults.items()]
        raise SetupError('\n'.join(['the config does not fit mmtvr:', *lines]))


def walk(node: Any, place: str = '') -> Iterator[tuple[str, dict]]:
    """Yield path and content of all dicts in nested dicts, lists and tuples.

    A path reads ``train_dataloader.dataset.pipeline[2]``.
    """
    if isinstance(node, dict):
        yield place, node
        for key, value in node.items():
            yield from walk(value, f'{place}.{key}' if place else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from walk(value, f'{place}[{number}]')


def find_faults(node: dict, scope: str | None) -> Iterator[str]:
    """Yield a sentence per fault of one dict; none for other libraries."""
    kind = node.get('type')
    if isinstance(kind, str):
        prefix, _, name = kind.rpartition('.')
        ours = prefix == nodes.SCOPE
        if not ours and (prefix or node.get('_scope_', scope) != nodes.SCOPE):
            return
        component = our_components().get(name)
        if component is None:
            guess = _guess(name, our_components())
            if ours or (guess and not _in_mmengine(name)):
                yield f'there is no {nodes.SCOPE}.{name}{guess}'
            return
    elif getattr(kind, '__module__', '').partition('.')[0] == nodes.SCOPE:
        component, name = kind, kind.__name__
    else:
        return
    accepted = accepted_arguments(component)
    for key in node.keys() - NOT_ARGUMENTS if accepted is not None else ():
        if key not in accepted:
            yield (
                f'{nodes.SCOPE}.{name} has no argument `{key}`'
                f'{_guess(key, accepted)}'
            )


@cache
def our_components() -> dict[str, Any]:
    """Everything registered in mmtvr's registries, by its bare name."""
    found: dict[str, Any] = {}
    for node in vars(nodes).values():
        if isinstance(node, Registry) and node.scope == nodes.SCOPE:
            node.import_from_location()
            found |= node.module_dict
    return found


def _in_mmengine(name: str) -> bool:
    registries = (n for n in vars(root).values() if isinstance(n, Registry))
    return any(name in node.module_dict for node in registries)


def accepted_arguments(component: Any) -> set[str] | None:
    """Names of the arguments that a class or a function takes.

    ``**kwargs`` of a constructor are taken to go to the next base class that
    has one. None if they go somewhere unknown.
    """
    owners = [component]
    if inspect.isclass(component):
        owners = [
            base.__init__
            for base in component.__mro__[:-1]
            if '__init__' in vars(base)
        ]
    names: set[str] = set()
    for owner in owners:
        parameters = inspect.signature(owner).parameters.values()
        names |= {p.name for p in parameters if p.kind != p.VAR_KEYWORD}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return names - {'self'}
    return None if owners else set()


def _guess(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f'; did you mean `{close[0]}`?' if close else ''


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
    for place, node in walk(content):
        kind = node.get('type')
        is_known = isinstance(kind, str) and KNOWN_TYPE.fullmatch(kind)
        if kind is not None and not is_known:
            raise _refusal(where, f'{place} has the type {kind!r:.80}')
    return cfg


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
