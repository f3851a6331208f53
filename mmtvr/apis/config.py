"""Read a config for a command, checked before any work."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.apis.config_check import check_config, check_options
from mmtvr.errors import SetupError


def load_config(
    path: str,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
) -> Config:
    """Read a config, merge options, set the work folder and check keys.

    Args:
        path: The config file.
        options: Dotted keys and values of ``--cfg-options``.
        work_dir: Folder for logs and checkpoints; if None, the config's, else
            ``work_dirs/`` with the name of the config.

    Returns:
        The config, with ``work_dir``.

    Raises:
        SetupError: The file or one of its bases is not there, or a key is
            unknown.
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
    init_default_scope(cfg.get('default_scope') or 'mmtvr')
    check_config(cfg)
    return cfg
