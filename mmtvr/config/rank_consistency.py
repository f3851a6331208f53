"""Check that all ranks start from the same: versions, config and data."""

import hashlib
import os
import platform
import socket
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from mmengine.config import Config
from mmengine.dist import all_gather_object

import mmtvr
from mmtvr.config.check import walk
from mmtvr.errors import SetupError
from mmtvr.files import hash_file
from mmtvr.pretrained import resolve_pretrained

PACKAGES = (
    'torch',
    'mmengine',
    'mmcv-lite',
    'mmcv',
    'mmaction2',
    'transformers',
    'tokenizers',
    'numpy',
    'av',
    'decord',
)
# A machine may keep its data in another place; what is in it must be equal.
WEIGHTS = (
    *('checkpoint', 'clip', 'encoder', 'load_from', 'pretrained'),
    'tokenizer',
)
PLACES = ('ann_file', 'data_root', 'video', 'work_dir', *WEIGHTS)
WEIGHT_FILES = (
    '*.safetensors',
    'pytorch_model*.bin',
    'tokenizer.json',
    'vocab.json',
)
SAMPLE_BYTES = 2**20
CONFIG_CHARACTERS = 60
SHOWN = 8

Facts = Mapping[str, str]


def check_rank_consistency(cfg: Config) -> None:
    """Compare what this rank starts from with what the others do.

    Otherwise they would train on as if nothing were wrong, and diverge or
    wait for one another forever.

    Raises:
        SetupError: On every rank, if something differs; names what, and on
            which ranks.
    """
    ranks = all_gather_object((socket.gethostname(), gather_facts(cfg)))
    found = find_differences([facts for _, facts in ranks])
    if found:
        raise SetupError(_describe(found, [host for host, _ in ranks]))


def gather_facts(cfg: Config) -> dict[str, str]:
    """Collect what must be the same on every rank.

    Returns:
        Versions, values of the config, and digests of the annotation files
        and weights that it names, by a name that says what each is.
    """
    facts = {'Python': platform.python_version()}
    for package in PACKAGES:
        try:
            facts[f'the version of {package}'] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[f'the version of {package}'] = 'none'
    facts['the version of mmtvr'] = mmtvr.__version__
    facts['the code of mmtvr'] = digest_code(Path(mmtvr.__file__).parent)
    for place, node in walk(cfg.to_dict()):
        for key, value in node.items():
            name = f'{place}.{key}' if place else str(key)
            if key in WEIGHTS and isinstance(value, str):
                facts[f'the weights of {name}'] = sample_weights(value)
            if key == 'ann_file' and isinstance(value, str):
                path = Path(str(node.get('data_root') or ''), value)
                facts[f'the content of {name}'] = digest_file(path)
            if key not in PLACES and not any(walk(value)):
                facts[name] = _short(value)
    return facts


def find_differences(
    everyone: Sequence[Facts],
) -> dict[str, dict[str, list[int]]]:
    """Return the ranks by value of each fact that is not the same on all."""
    names = dict.fromkeys(name for facts in everyone for name in facts)
    found = {}
    for name in names:
        ranks = defaultdict(list)
        for rank, facts in enumerate(everyone):
            ranks[facts.get(name, 'absent')].append(rank)
        if len(ranks) > 1:
            found[name] = dict(ranks)
    return found


def _describe(
    found: Mapping[str, Mapping[str, Sequence[int]]], hosts: Sequence[str]
) -> str:
    lines = ['the ranks do not start from the same:']
    for name, ranks in list(found.items())[:SHOWN]:
        values = '; '.join(
            f'{value} on rank {", ".join(map(str, those))} '
            f'({", ".join(sorted({hosts[rank] for rank in those}))})'
            for value, those in ranks.items()
        )
        lines.append(f'  {name}: {values}')
    if len(found) > SHOWN:
        lines.append(f'  and {len(found) - SHOWN} more')
    return '\n'.join(lines)


def digest_code(folder: Path) -> str:
    """Digest of the Python files of a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob('*.py')):
        total.update(path.relative_to(folder).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:12]


def digest_file(path: Path) -> str:
    """Size and digest of a whole file, or ``no file``."""
    if not path.is_file():
        return 'no file'
    return f'{path.stat().st_size:,} bytes {hash_file(path, 6)}'


def sample_weights(name: str) -> str:
    """Digest of the sizes, the beginnings and the ends of weight files.

    A whole file would take seconds per gigabyte on every rank; ranks with
    other weights than the first get its weights from it anyhow.

    Args:
        name: A file, a folder in the layout of Hugging Face, or a repository
            of its hub, of which the cached file is looked at.
    """
    location = Path(resolve_pretrained(name))
    files = [location] if location.is_file() else _cached(name)
    for pattern in WEIGHT_FILES if location.is_dir() else ():
        files += sorted(location.glob(pattern))
    total = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        total.update(str(size).encode())
        with path.open('rb') as file:
            total.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES), os.SEEK_SET)
            total.update(file.read(SAMPLE_BYTES))
    return total.hexdigest()[:12] if files else 'none here'


def _cached(name: str) -> list[Path]:
    try:
        path = try_to_load_from_cache(name, 'model.safetensors')
    except ValueError:
        return []
    return [Path(path)] if isinstance(path, str) else []


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) <= CONFIG_CHARACTERS:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f'{text[:CONFIG_CHARACTERS]}... ({digest})'
