"""Configs: read, checked, and a dry run before the run (``preflight``)."""

from mmtvr.config.check import ConfigOptions, check_config, check_parts, walk
from mmtvr.config.reading import (
    check_plain_types,
    expand_encoder,
    find_config,
    is_work_folder,
    load_config,
    parse_plain_config,
)

__all__ = [
    'ConfigOptions',
    'check_config',
    'check_parts',
    'check_plain_types',
    'expand_encoder',
    'find_config',
    'is_work_folder',
    'load_config',
    'parse_plain_config',
    'walk',
]
