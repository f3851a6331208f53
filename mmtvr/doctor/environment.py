"""Packages: their versions, known breakages, whether they can be imported."""

import os
import platform
import re
import shlex
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import (
    PackageNotFoundError,
    metadata,
    requires,
    version,
)
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from mmtvr.doctor.findings import Finding, Severity

ROOT = Path(__file__).resolve().parents[2]
LOCK_FILE = ROOT / 'requirements/lock.txt'
LOCKED = 'pip install -c requirements/lock.txt'
INSTALL = f'{LOCKED} -e .'
if not LOCK_FILE.is_file():
    # No checkout: the wheel has it beside its configs.
    LOCK_FILE = ROOT / 'mmtvr/.mim/requirements/lock.txt'
    LOCKED = f'pip install -c {shlex.quote(str(LOCK_FILE))}'
    INSTALL = f'{LOCKED} mmtvr'
Versions = Mapping[str, object]
# mmaction2 asks for the second, mmcv-lite 2.1 and many others for the first.
OPENCV = (
    *('opencv-python', 'opencv-contrib-python'),
    *('opencv-python-headless', 'opencv-contrib-python-headless'),
)
# requirements/lock-mmaction-1.2.txt, outside of what setup.py asks for.
SECOND_LOCK = {'mmaction2': '1.2.0', 'mmcv-lite': '2.1.0'}


class Breakage(NamedTuple):
    """A combination of packages that is known to break.

    Attributes:
        subject: The packages.
        applies: Whether it happens, by the installed versions.
        severity: ``error`` where mmtvr breaks; ``warning`` where something
            else breaks that its users run; ``ok`` for a note on a part of
            another library that mmtvr replaces.
        text: What happens, with the words of the message.
        fix: What helps.
    """

    subject: str
    applies: Callable[[Versions], bool]
    severity: Severity
    text: str
    fix: str


def has(versions: Versions, name: str, asked: str = '') -> bool:
    """Whether a package is installed, in a version such as ``>=2.6,<3``."""
    from packaging.specifiers import SpecifierSet

    if name not in versions:
        return False
    return SpecifierSet(asked).contains(str(versions[name]), prereleases=True)


def _mmcv(versions: Versions, asked: str) -> bool:
    return has(versions, 'mmcv', asked) or has(versions, 'mmcv-lite', asked)


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
        'pip uninstall mmcv mmcv-lite; ' + INSTALL,
    ),
    Breakage(
        'two OpenCV packages together',
        lambda v: sum(has(v, name) for name in OPENCV) > 1,
        'warning',
        'all of them write into one folder, cv2; what is imported depends on '
        'the order in which they were installed, and removing one takes files '
        'of the other ("module \'cv2\' has no attribute ...")',
        f'pip uninstall {" ".join(OPENCV)}; {LOCKED} opencv-contrib-python',
    ),
    Breakage(
        'openmim with setuptools >= 82',
        lambda v: has(v, 'openmim') and not v.get('pkg_resources'),
        'warning',
        'mim does not start ("No module named \'pkg_resources\'")',
        'use pip in its place: ' + INSTALL,
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
    """Look the installed versions up among the known breakages."""
    return find_breakages(collect_versions())


def find_breakages(versions: Versions) -> list[Finding]:
    """Breakages that apply to versions; a finding that says so if none does.

    Args:
        versions: Versions by name of the package, and by ``pkg_resources``,
            ``importlib_metadata`` and ``forced`` whether they are there.
    """
    findings = [
        Finding('breakages', b.subject, b.severity, b.text, b.fix)
        for b in BREAKAGES
        if b.applies(versions)
    ]
    text = 'none of them is installed'
    none = Finding('breakages', 'known combinations', 'ok', text)
    return findings or [none]


def collect_versions() -> dict[str, object]:
    """What :func:`find_breakages` takes, of this environment."""
    found: dict[str, object] = {}
    for name in (
        *('torch', 'mmengine', 'mmcv', 'mmcv-lite', 'mmaction2', 'numpy'),
        *('transformers', 'setuptools', 'openmim', 'decord', *OPENCV),
    ):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for module in ('pkg_resources', 'importlib_metadata'):
        found[module] = find_spec(module) is not None
    forced = os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0')
    found['forced'] = forced not in ('0', '')
    return found


def describe_environment() -> list[Finding]:
    """What mmengine's ``collect_env`` collects for bug reports."""
    from mmengine.utils.dl_utils import collect_env

    skip = ('PyTorch compiling details', 'numpy_random_seed')
    try:
        found = collect_env()
    except ModuleNotFoundError as error:
        # mmengine 0.11 imports distutils, which Python 3.12 has only where
        # setuptools is installed.
        text = f'mmengine cannot describe it: {error}'
        return [Finding('environment', 'collect_env', 'ok', text)]
    return [
        Finding('environment', name, 'ok', str(value))
        for name, value in found.items()
        if name not in skip
    ]


def check_versions() -> list[Finding]:
    """Compare Python and every required package with what mmtvr asks for."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    try:
        needed = requires('mmtvr') or []
        pythons = SpecifierSet(metadata('mmtvr')['Requires-Python'] or '')
    except PackageNotFoundError:
        text = 'it is not installed'
        return [Finding('versions', 'mmtvr', 'error', text, INSTALL)]
    tested = read_lock(LOCK_FILE)
    fix = 'make the virtual environment with another Python'
    own = platform.python_version()
    findings = [compare_version('Python', own, pythons, None, fix)]
    for requirement in map(Requirement, needed):
        marker = requirement.marker
        if marker is not None and not marker.evaluate({'extra': ''}):
            continue
        name, asked = requirement.name, requirement.specifier
        try:
            own = version(name)
        except PackageNotFoundError:
            own = None
        fix = f"{LOCKED} '{name}{asked}'"
        lock = tested.get(_normalize(name))
        findings.append(compare_version(name, own, asked, lock, fix))
    return findings


def compare_version(
    name: str, own: str | None, asked: object, tested: str | None, fix: str
) -> Finding:
    """Compare an installed version.

    Args:
        name: Name of the package.
        own: Its version; None if it is not installed.
        asked: A ``SpecifierSet`` of versions that mmtvr supports.
        tested: The version of the tested lock, if it is known.
        fix: What to do if it does not fit.
    """
    if own is None:
        return Finding('versions', name, 'error', 'it is not installed', fix)
    if own == SECOND_LOCK.get(name):
        text = f'{own}, tested with requirements/lock-mmaction-1.2.txt'
        return Finding('versions', name, 'ok', text)
    if not asked.contains(own, prereleases=True):
        text = f'{own}, mmtvr needs {asked}'
        return Finding('versions', name, 'error', text, fix)
    public = own.partition('+')[0]
    note = f', tested with {tested}' if tested not in (None, public) else ''
    return Finding('versions', name, 'ok', own + note)


def read_lock(path: Path) -> dict[str, str]:
    """Tested versions for this Python by normalized name.

    A wheel comes without the lock: the result is empty.
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
            tested[_normalize(requirement.name)] = pinned
    return tested


def _normalize(name: str) -> str:
    return re.sub(r'[-_.]+', '-', name).lower()


# Module: what pip calls its package.
PIP_NAMES = {
    'cv2': 'opencv-contrib-python',
    'mmaction': 'mmaction2',
    'mmcv': 'mmcv-lite',
}
# Module: the extra of mmtvr that brings it.
EXTRAS = {
    'HanTa': 'keywords',
    'lancedb': 'search',
    'starlette': 'serve',
}


def check_import(module: str) -> list[Finding]:
    """Import a module; report how long it took, or why it failed."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import_module(module)
    except BaseException as error:
        missing = isinstance(error, ModuleNotFoundError)
        if missing and error.name == module and module in EXTRAS:
            text = 'not installed; it is optional'
            fix = f"pip install 'mmtvr[{EXTRAS[module]}]'"
            return [Finding('imports', module, 'ok', text, fix)]
        reason = str(error).strip().splitlines() or ['']
        package = PIP_NAMES.get(module, module)
        return [
            Finding(
                *('imports', module, 'error'),
                f'{type(error).__name__}: {reason[0]}',
                'pip install --force-reinstall --no-deps '
                f'-c requirements/lock.txt {package}',
            )
        ]
    taken = time.perf_counter() - start
    return [Finding('imports', module, 'ok', f'imported in {taken:.1f} s')]
