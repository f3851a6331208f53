"""Configs: read, checked, and tried out before a run (``preflight``)."""

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
