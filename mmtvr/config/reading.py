"""Read a config file, checked, or parse a config as plain data."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.config.check import check_config, merge_options, walk
from mmtvr.errors import SetupError
from mmtvr.registry import SCOPE

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
        merge_options(cfg, options)
    cfg.work_dir = (
        work_dir
        or cfg.get('work_dir')
        or str(Path('work_dirs', Path(path).stem))
    )
    init_default_scope(cfg.get('default_scope') or SCOPE)
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
