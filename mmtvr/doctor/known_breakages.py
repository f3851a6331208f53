"""Combinations of packages that are known to break, each with its way out."""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from mmtvr.doctor.finding import Finding, Severity

NAME = 'breakages'
PACKAGES = (
    *('torch', 'mmengine', 'mmcv', 'mmcv-lite', 'mmaction2', 'numpy'),
    *('transformers', 'setuptools', 'openmim', 'decord'),
)
Versions = Mapping[str, object]


class Breakage(NamedTuple):
    """What breaks, when, and what helps.

    Attributes:
        subject: The packages.
        applies: Whether it happens, by the installed versions.
        severity: ``error`` where mmtvr breaks, ``warning`` where something
            beside it does that its users run, ``ok`` for a note on a part of
            another library that mmtvr replaces.
        text: What happens, with the words of the message.
        way_out: What helps.
    """

    subject: str
    applies: Callable[[Versions], bool]
    severity: Severity
    text: str
    way_out: str


def has(versions: Versions, name: str, asked: str = '') -> bool:
    """Whether a package is installed, in one of some versions.

    Args:
        versions: Installed versions by name.
        name: The package.
        asked: Versions, as ``>=2.6,<3``; empty for any.

    Returns:
        True if it is.
    """
    from packaging.specifiers import SpecifierSet

    if name not in versions:
        return False
    return SpecifierSet(asked).contains(str(versions[name]), prereleases=True)


def _mmcv(versions: Versions, asked: str) -> bool:
    return has(versions, 'mmcv', asked) or has(versions, 'mmcv-lite', asked)


LOCK = 'pip install -c requirements/lock.txt -e .'
BREAKAGES = (
    Breakage(
        'mmengine < 0.11 with torch >= 2.6',
        lambda v: (
            has(v, 'mmengine', '<0.11.0rc0') and has(v, 'torch', '>=2.6')
        ),
        'error',
        'resume and test stop with "Weights only load failed ... Unsupported '
        'global: mmengine.logging.history_buffer.HistoryBuffer"',
        "pip install 'mmengine>=0.11.0rc3'",
    ),
    Breakage(
        'mmengine < 0.11 with setuptools >= 82',
        lambda v: (
            has(v, 'mmengine', '<0.11.0rc0') and not v.get('pkg_resources')
        ),
        'error',
        'configs that inherit across packages stop with "No module named '
        "'pkg_resources'\"",
        "pip install 'mmengine>=0.11.0rc3'",
    ),
    Breakage(
        'mmaction2 1.1 with mmcv >= 2.1',
        lambda v: has(v, 'mmaction2', '<1.2') and _mmcv(v, '>=2.1'),
        'error',
        'importing mmaction stops with "AssertionError: MMCV==... is used but '
        'incompatible"',
        "pip install 'mmcv-lite==2.0.1', or 'mmaction2==1.2.0'",
    ),
    Breakage(
        'mmaction2 1.2 with mmcv >= 2.2',
        lambda v: has(v, 'mmaction2', '>=1.2,<1.3') and _mmcv(v, '>=2.2'),
        'error',
        'importing mmaction stops with "AssertionError: MMCV==2.2.0 is used '
        'but incompatible"',
        "pip install 'mmcv-lite==2.1.0'",
    ),
    Breakage(
        'mmaction2 1.2 without importlib_metadata',
        lambda v: (
            has(v, 'mmaction2', '>=1.2,<1.3')
            and not v.get('importlib_metadata')
        ),
        'error',
        'importing mmaction stops with "No module named '
        "'importlib_metadata'\", which its metadata does not ask for",
        'pip install importlib-metadata',
    ),
    Breakage(
        'mmaction2 1.2.0',
        lambda v: has(v, 'mmaction2', '==1.2.0'),
        'warning',
        'mmaction.models cannot be imported ("No module named '
        "'mmaction.models.localizers.drn'\"); mmtvr does not need it, configs "
        "that mix in mmaction2's models do",
        "pip install 'mmaction2==1.1.0' 'mmcv-lite==2.0.1'",
    ),
    Breakage(
        'mmcv and mmcv-lite together',
        lambda v: has(v, 'mmcv') and has(v, 'mmcv-lite'),
        'warning',
        'both write into one folder; what is imported depends on the order '
        'in which they were installed ("No module named \'mmcv._ext\'")',
        'pip uninstall mmcv mmcv-lite; ' + LOCK,
    ),
    Breakage(
        'openmim with setuptools >= 82',
        lambda v: has(v, 'openmim') and not v.get('pkg_resources'),
        'warning',
        'mim does not start ("No module named \'pkg_resources\'")',
        'use pip in its place: ' + LOCK,
    ),
    Breakage(
        'decord',
        lambda v: not has(v, 'decord'),
        'warning',
        'it is not installed; it has no wheels for macOS arm64 and Linux '
        "aarch64. reader='auto' then reads with PyAV; mmaction2's own Decord "
        'transforms do not run',
        'pip install decord, where there is a wheel',
    ),
    Breakage(
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD',
        lambda v: bool(v.get('forced')),
        'warning',
        'it is set: other programs run the code in checkpoints without a '
        'word. mmtvr does not look at it',
        'unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD',
    ),
    Breakage(
        'numpy >= 2.4 with mmaction2',
        lambda v: has(v, 'mmaction2') and has(v, 'numpy', '>=2.4'),
        'ok',
        "mmaction2's RetrievalRecall stops with \"module 'numpy' has no "
        "attribute 'in1d'\"",
        'mmtvr.TextVideoRecall in its place',
    ),
    Breakage(
        'mmaction2 with transformers >= 5',
        lambda v: (
            has(v, 'mmaction2', '>=1.2') and has(v, 'transformers', '>=5')
        ),
        'ok',
        "VindLU of mmaction2 asks for transformers 4's internals, "
        '"apply_chunking_to_forward"',
        'none of it is needed by mmtvr',
    ),
)


def check_breakages() -> list[Finding]:
    """Look the installed versions up.

    Returns:
        A finding for each breakage that applies here; one that says so if
        there is none.
    """
    return find_breakages(collect_versions())


def find_breakages(versions: Versions) -> list[Finding]:
    """Look versions up.

    Args:
        versions: Versions by name of the package, and by ``pkg_resources``,
            ``importlib_metadata`` and ``forced`` whether they are there.

    Returns:
        See :func:`check_breakages`.
    """
    findings = [
        Finding(NAME, b.subject, b.severity, b.text, b.way_out)
        for b in BREAKAGES
        if b.applies(versions)
    ]
    none = Finding(NAME, 'known combinations', 'ok', 'none of them is here')
    return findings or [none]


def collect_versions() -> dict[str, object]:
    """Versions of the packages that break together.

    Returns:
        See :func:`find_breakages`.
    """
    found: dict[str, object] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for module in ('pkg_resources', 'importlib_metadata'):
        found[module] = find_spec(module) is not None
    found['forced'] = os.environ.get(
        'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0'
    ) not in ('0', '')
    return found
