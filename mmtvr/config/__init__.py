"""Configs: read, checked, and a dry run before the run (``preflight``)."""

from mmtvr.config.reading import (
    check_config,
    expand_encoder,
    load_config,
    parse_plain_config,
    walk,
)

__all__ = [
    'check_config',
    'expand_encoder',
    'load_config',
    'parse_plain_config',
    'walk',
]
