"""Installed versions against what mmtvr asks for and was tested with."""

import platform
import re
from importlib.metadata import (
    PackageNotFoundError,
    metadata,
    requires,
    version,
)
from pathlib import Path

from mmtvr.doctor.finding import Finding

LOCK = Path(__file__).resolve().parents[2] / 'requirements/lock.txt'
NAME = 'versions'


def check_versions() -> list[Finding]:
    """Compare Python and every package that mmtvr needs.

    Returns:
        A finding for Python and for each package.
    """
    try:
        needed = requires('mmtvr') or []
        pythons = metadata('mmtvr')['Requires-Python']
    except PackageNotFoundError:
        return [
            Finding(
                *(NAME, 'mmtvr', 'error', 'it is not installed'),
                'pip install -c requirements/lock.txt -e .',
            )
        ]
    from packaging.requirements import Requirement

    tested = read_lock(LOCK)
    findings = [check_python(pythons)]
    for line in needed:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({'extra': ''}):
            name = requirement.name
            lock = tested.get(normalize(name))
            findings.append(check_package(name, requirement.specifier, lock))
    return findings


def check_python(asked: str | None) -> Finding:
    """Compare Python.

    Args:
        asked: Versions that mmtvr supports, as ``>=3.10,<3.14``.

    Returns:
        The finding.
    """
    from packaging.specifiers import SpecifierSet

    own = platform.python_version()
    if SpecifierSet(asked or '').contains(own, prereleases=True):
        return Finding(NAME, 'Python', 'ok', own)
    return Finding(
        *(NAME, 'Python', 'error', f'{own}, mmtvr needs {asked}'),
        'make the virtual environment with another Python',
    )


def check_package(name: str, asked: object, tested: str | None) -> Finding:
    """Compare one package.

    Args:
        name: Its name.
        asked: A ``SpecifierSet`` of versions that mmtvr supports.
        tested: The version of the tested lock, if it is known.

    Returns:
        The finding.
    """
    wanted = f"pip install -c requirements/lock.txt '{name}{asked}'"
    try:
        own = version(name)
    except PackageNotFoundError:
        return Finding(NAME, name, 'error', 'it is not installed', wanted)
    if not asked.contains(own, prereleases=True):
        text = f'{own}, mmtvr needs {asked}'
        return Finding(NAME, name, 'error', text, wanted)
    public = own.partition('+')[0]
    note = f', tested with {tested}' if tested not in (None, public) else ''
    return Finding(NAME, name, 'ok', own + note)


def read_lock(path: Path) -> dict[str, str]:
    """Read the tested versions that are meant for this Python.

    Args:
        path: The lock; a wheel comes without it.

    Returns:
        Normalized name to version.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    tested = {}
    lines = path.read_text(encoding='utf-8') if path.is_file() else ''
    for line in lines.splitlines():
        try:
            requirement = Requirement(line.partition('#')[0].strip())
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            pinned = str(requirement.specifier).removeprefix('==')
            tested[normalize(requirement.name)] = pinned
    return tested


def normalize(name: str) -> str:
    """Spell the name of a package as an index does.

    Args:
        name: As anybody spells it.

    Returns:
        Lower case, with hyphens.
    """
    return re.sub(r'[-_.]+', '-', name).lower()
