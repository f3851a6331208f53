"""Packages whose names are imported when they are first used (PEP 562)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def export_lazily(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: Its ``__name__``.
        names: What each of its modules exports.

    Example:
        >>> getattr_, dir_, all_ = export_lazily('json', {
        ...     'decoder': ['JSONDecodeError']})
        >>> getattr_('JSONDecodeError').__module__, all_
        ('json.decoder', ['JSONDecodeError'])
    """
    modules = {
        name: module for module, exported in names.items() for name in exported
    }

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in modules:
            raise AttributeError(f'{package!r} has no attribute {name!r}')
        return getattr(import_module(f'{package}.{modules[name]}'), name)

    return __getattr__, lambda: sorted(modules), sorted(modules)
