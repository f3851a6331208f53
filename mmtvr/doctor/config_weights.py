"""The pretrained weights, tokenizers and checkpoints of a config."""

from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer

from mmtvr.checkpoints import read_checkpoint
from mmtvr.config.check import walk
from mmtvr.config.reading import load_config
from mmtvr.doctor.finding import Finding
from mmtvr.errors import SetupError
from mmtvr.pretrained import load_pretrained, resolve_pretrained

NAME = 'config'
WEIGHTS = (
    *('model.safetensors', 'model.safetensors.index.json'),
    *('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)


def check_weights(path: str) -> list[Finding]:
    """Look whether what a config starts from is there.

    Args:
        path: The config.

    Returns:
        A finding for each tokenizer, model and checkpoint that it names;
        nothing for a config that cannot be read, which another check says.
    """
    try:
        cfg = load_config(path)
    except SetupError:
        return []
    found: dict[tuple[str, str], None] = {}
    for _, node in walk(cfg.to_dict()):
        for key in ('clip', 'encoder', 'tokenizer'):
            if 'type' in node and isinstance(node.get(key), str):
                found[key, node[key]] = None
    examine = dict(
        clip=check_model, encoder=check_model, tokenizer=check_tokenizer
    )
    findings = [examine[key](name) for key, name in found]
    if cfg.get('load_from'):
        findings.append(check_checkpoint(cfg.load_from))
    return findings


def check_tokenizer(name: str) -> Finding:
    """Load a tokenizer.

    Args:
        name: See :func:`mmtvr.pretrained.load_pretrained`.

    Returns:
        The finding.
    """
    return _try(
        'tokenizer',
        lambda: (
            f'{name}: {len(load_pretrained(AutoTokenizer, name)):,} '
            'word pieces'
        ),
    )


def check_model(name: str) -> Finding:
    """Look for the configuration and the weights of a model.

    Args:
        name: See :func:`mmtvr.pretrained.load_pretrained`.

    Returns:
        The finding; a warning where the weights can still be fetched.
    """
    found = _try(
        'weights', lambda: load_pretrained(AutoConfig, name).model_type
    )
    if found.severity != 'ok':
        return found
    place = find_weights(name)
    if place is not None:
        text = f'{name}: {found.text} in {place}'
        return Finding(NAME, 'weights', 'ok', text)
    if Path(resolve_pretrained(name)).is_dir():
        text = f'{name} holds none of {", ".join(WEIGHTS)}'
        return Finding(NAME, 'weights', 'error', text)
    text = f'{name} is not in {constants.HF_HUB_CACHE} yet'
    way_out = f'training fetches it; or now: hf download {name}'
    return Finding(NAME, 'weights', 'warning', text, way_out)


def find_weights(name: str) -> str | None:
    """Find the file of the weights.

    Args:
        name: See :func:`mmtvr.pretrained.load_pretrained`.

    Returns:
        Where it is on this machine, or None.
    """
    place = resolve_pretrained(name)
    folder = Path(place)
    if folder.is_dir():
        found = [folder / file for file in WEIGHTS]
        return next((str(file) for file in found if file.is_file()), None)
    cached = [try_to_load_from_cache(place, file) for file in WEIGHTS]
    return next((file for file in cached if isinstance(file, str)), None)


def check_checkpoint(path: str) -> Finding:
    """Read the checkpoint that a config loads.

    Args:
        path: A file, or an address, which is not fetched.

    Returns:
        The finding.
    """
    if '://' in path:
        text = 'an address, fetched when it is needed'
        return Finding(NAME, 'checkpoint', 'ok', f'{path}: {text}')
    return _try(
        'checkpoint',
        lambda: (
            f'{path}: {len(read_checkpoint(path)["state_dict"]):,} tensors'
        ),
    )


def _try(subject: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(NAME, subject, 'ok', look())
    except SetupError as error:
        return Finding(NAME, subject, 'error', str(error))
