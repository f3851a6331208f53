"""Configs: read, checked, and a dry run before the run (``preflight``)."""

from mmtvr.config.check import check_config, walk
from mmtvr.config.reading import (
    check_plain_types,
    expand_encoder,
    find_config,
    is_work_folder,
    load_config,
    parse_plain_config,
)

__all__ = [
    'check_config',
    'check_plain_types',
    'expand_encoder',
    'find_config',
    'is_work_folder',
    'load_config',
    'parse_plain_config',
    'walk',
]
