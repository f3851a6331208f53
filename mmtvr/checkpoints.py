"""Checkpoints from anywhere, loaded without running code from them."""

import hashlib
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from mmengine.logging import HistoryBuffer, print_log
from torch import Tensor, serialization

from mmtvr.errors import SetupError, first_line
from mmtvr.files import recognize_file

SAFETENSORS = '.safetensors'
#: Weights in the folder of a retriever.
WEIGHTS = 'model.safetensors'
LAST = 'last_checkpoint'
BEST = 'best_*.pth'

# Keys under which others keep the weights.
NESTED = ('model_state_dict', 'model', 'net', 'weights')
WRAPPERS = re.compile(
    r'(?:(?:module|model|state_dict|model_state_dict|_orig_mod)\.)*'
)
ENCODER = re.compile(r'(text|frame)_encoder\.')
TOWER = re.compile(r'(text|frame)_encoder\.(clip|model)\.')
SHOWN = 3
# From OpenAI's names to those of transformers, one after the other.
OPENAI = (
    (r'^visual\.transformer\.resblocks\.', 'vision_model.encoder.layers.'),
    (r'^transformer\.resblocks\.', 'text_model.encoder.layers.'),
    (r'^visual\.ln_pre\.', 'vision_model.pre_layrnorm.'),
    (r'^visual\.ln_post\.', 'vision_model.post_layernorm.'),
    (r'^visual\.conv1\.', 'vision_model.embeddings.patch_embedding.'),
    (
        r'^visual\.class_embedding$',
        'vision_model.embeddings.class_embedding',
    ),
    (
        r'^visual\.positional_embedding$',
        'vision_model.embeddings.position_embedding.weight',
    ),
    (r'^visual\.proj$', 'visual_projection.weight'),
    (r'^token_embedding\.', 'text_model.embeddings.token_embedding.'),
    (
        r'^positional_embedding$',
        'text_model.embeddings.position_embedding.weight',
    ),
    (r'^ln_final\.', 'text_model.final_layer_norm.'),
    (r'^text_projection$', 'text_projection.weight'),
    (r'\.ln_([12])\.', r'.layer_norm\1.'),
    (r'\.mlp\.c_fc\.', '.mlp.fc1.'),
    (r'\.mlp\.c_proj\.', '.mlp.fc2.'),
    (r'\.attn\.', '.self_attn.'),
)


_trust = False


def set_trust(trust: bool) -> None:
    """Decide for this process whether checkpoints may run code."""
    global _trust
    _trust = trust


def read_checkpoint(
    path: str | Path, map_location: Any = 'cpu', trust: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Args:
        path: A ``.safetensors`` file with weights, or what ``torch.save``
            wrote: mmengine's ``.pth`` or a bare state dict.
        map_location: See :func:`torch.load`.
        trust: Load what is more than weights and numbers too, which runs
            code that the file contains. None: as :func:`set_trust` decided
            for this process, by default not.

    Returns:
        A dict with at least ``state_dict``; all that a training run needs to
        resume if the file has it.

    Raises:
        SetupError: There is no such file, it is damaged or no checkpoint, or
            it is more than weights and not trusted.
    """
    trust = _trust if trust is None else trust
    path = Path(path).expanduser()
    if not path.is_file():
        raise SetupError(
            f'there is no checkpoint {path} (looked from {Path.cwd()})'
        )
    if path.suffix == SAFETENSORS:
        return _read_safetensors(path)
    content = _load(path, map_location, trust)
    if not isinstance(content, dict):
        raise SetupError(
            f'{path} is no checkpoint: it holds a {type(content).__name__}, '
            'expected a dict with the weights by name'
        )
    if 'state_dict' not in content:
        inside = (content.get(key) for key in NESTED)
        nested = next(
            (each for each in inside if isinstance(each, dict)), None
        )
        content = {'state_dict': content if nested is None else nested}
    return content if trust else _without_code(content, path)


class WeightFit(NamedTuple):
    """Weights of a file under the names of a model.

    Attributes:
        weights: Those that fit, by the names of the model.
        missing: Weights of the model that the file lacks, or has in another
            shape.
        unused: Names of the file that fit nothing.
        mapping: How names were changed; empty if they were not.
        has_encoder: Whether a weight of an encoder fits, if there are any.
    """

    weights: dict[str, Tensor]
    missing: list[str]
    unused: list[str]
    mapping: str
    has_encoder: bool

    def describe(self, path: str | Path) -> str:
        """What fits, in a sentence."""
        total = len(self.weights) + len(self.missing)
        lines = [f'{path}: {len(self.weights)} of {total} weights fit']
        if self.mapping:
            lines.append(f'names mapped: {self.mapping}')
        if self.missing:
            lines.append(f'not in it, first {_some(self.missing)}')
        if self.unused:
            unused = len(self.unused)
            lines.append(
                f'{unused} of it not used, first {_some(self.unused)}'
            )
        return '; '.join(lines)


def fit_weights(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> WeightFit:
    """Bring the weights of a file to the names of a model.

    Prefixes that wrappers add are removed (``module.``, ``model.``), and the
    names of CLIP as OpenAI, CLIP4Clip (``clip.visual...``) and transformers
    write them become those of the encoders.

    Args:
        found: The state dict of a file.
        expected: That of the model.
    """
    shapes = {name: tuple(each.shape) for name, each in expected.items()}
    best: tuple[dict, set, str] = {}, set(), ''
    for mapping, named in _renamed(found, expected):
        fits, used = {}, set()
        for name, (source, tensor) in named.items():
            if shapes.get(name) == tuple(getattr(tensor, 'shape', (None,))):
                fits[name] = tensor
                used.add(source)
        if len(fits) > len(best[0]):
            best = fits, used, mapping
    weights, used, mapping = best
    encoders = [name for name in expected if ENCODER.match(name)]
    return WeightFit(
        weights,
        [name for name in expected if name not in weights],
        [name for name in found if name not in used],
        mapping,
        not encoders or any(name in weights for name in encoders),
    )


Named = dict[str, tuple[str, Any]]


def _renamed(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> Iterator[tuple[str, Named]]:
    """Ways to name weights: what was changed, and name: (source, tensor)."""
    named: Named = {name: (name, each) for name, each in found.items()}
    yield '', named
    stripped = {
        name[WRAPPERS.match(name).end() :]: each
        for name, each in named.items()
    }
    wrappers = {WRAPPERS.match(name)[0] for name in named} - {''}
    removed = f'without {", ".join(sorted(wrappers))}' if wrappers else ''
    if wrappers:
        yield removed, stripped
    places: dict[str, list[str]] = {}
    for name in expected:
        tower = TOWER.match(name)
        if tower:
            places.setdefault(name[tower.end() :], []).append(name)
    places['logit_scale'] = ['logit_scale.log']
    clip = {name.removeprefix('clip.'): e for name, e in stripped.items()}
    for kind, names in (
        ('transformers', stripped),
        ('OpenAI or CLIP4Clip', _to_transformers(clip)),
    ):
        placed = {
            place: each
            for name, each in names.items()
            for place in places.get(name, [name])
        }
        parts = [removed, f'from those of {kind}']
        yield ', '.join(filter(None, parts)), placed


def _to_transformers(named: Named) -> Named:
    """Rename OpenAI's weights of CLIP, and split and turn what differs."""
    renamed: Named = {}
    for name, (source, tensor) in named.items():
        new = name
        for pattern, replacement in OPENAI:
            new = re.sub(pattern, replacement, new)
        found = re.fullmatch(r'(.*self_attn\.)in_proj_(weight|bias)', new)
        if found and getattr(tensor, 'ndim', 0):
            for part, piece in zip('qkv', tensor.chunk(3), strict=False):
                renamed[f'{found[1]}{part}_proj.{found[2]}'] = source, piece
            continue
        if name in ('text_projection', 'visual.proj') and tensor.ndim == 2:
            tensor = tensor.mT.contiguous()
        renamed[new] = source, tensor
    return renamed


def _some(names: Sequence[str]) -> str:
    return ', '.join(names[:SHOWN]) + (' ...' if len(names) > SHOWN else '')


#: In place of a checkpoint: the encoders as they were pretrained.
PRETRAINED = 'none'


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Find the checkpoint of a run.

    Args:
        path: A checkpoint, or the work folder of a run, of which the best
            checkpoint is taken, else the last one; or the folder of a
            retriever.

    Raises:
        SetupError: There is no checkpoint.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise SetupError(
            f'there is no checkpoint or work folder {path} (looked from '
            f'{Path.cwd()})'
        )
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    best = sorted(path.glob(BEST), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    note = path / LAST
    if note.is_file():
        # The run may have been moved since: what counts is its name.
        name = Path(note.read_text().strip()).name
        if (path / name).is_file():
            return path / name
    raise SetupError(
        f'{path} holds no checkpoint (neither {BEST} nor {LAST}): train '
        'first, `python tools/train.py CONFIG`'
    )


def guard_loading(trust: bool | None = None) -> None:
    """Make mmengine read every checkpoint by :func:`read_checkpoint`.

    ``load_from``, ``resume``, ``init_cfg`` and ``load_checkpoint`` follow.
    Files at http(s) addresses are downloaded first; other addresses of
    mmengine, whose loaders unpickle, are refused.

    Args:
        trust: Whether checkpoints may run code, in this process and from now
            on; None leaves it as it is. See :func:`read_checkpoint`.
    """
    # A text query loads no weights by mmengine, whose runner takes seconds.
    from mmengine.runner import CheckpointLoader

    if trust is not None:
        set_trust(trust)

    def load_from_file(path: str, map_location: Any = 'cpu') -> dict:
        return read_checkpoint(path, map_location)

    def load_from_web(address: str, map_location: Any = 'cpu') -> dict:
        return read_checkpoint(download(address), map_location)

    def refuse(address: str, map_location: Any = None) -> dict:
        raise SetupError(
            f'{address}: only files and http(s) addresses are loaded, the '
            'others without a look at what they run. Fetch the file and give '
            'its path.'
        )

    loaders: dict[str, Callable] = dict.fromkeys(
        CheckpointLoader._schemes, refuse
    )
    loaders |= dict.fromkeys(('http://', 'https://'), load_from_web)
    loaders[''] = load_from_file
    for prefix, loader in loaders.items():
        CheckpointLoader.register_scheme(prefix, loader, force=True)


def download(address: str) -> Path:
    """Fetch an http(s) address once per machine, to PyTorch's cache folder.

    Raises:
        SetupError: It cannot be fetched.
    """
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    name = Path(address.partition('?')[0]).name
    path = Path(torch.hub.get_dir(), 'checkpoints', f'{digest}-{name}')
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{path}.lock'):
        if not path.is_file():
            try:
                torch.hub.download_url_to_file(address, str(path))
            except OSError as error:
                raise SetupError(
                    f'{address} cannot be fetched: {error}'
                ) from error
    return path


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, 'pt') as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return {'state_dict': weights, 'meta': file.metadata() or {}}
    except (SafetensorError, OSError) as error:
        raise SetupError(f'{path} is no safetensors file: {error}') from error


def _load(path: Path, map_location: Any, trust: bool) -> object:
    try:
        with serialization.safe_globals(_harmless()):
            return torch.load(
                path, map_location=map_location, weights_only=True
            )
    except pickle.UnpicklingError as error:
        wanted = _named_in(error)
        if not trust or not wanted:
            raise _refusal(path, wanted, error) from error
    except Exception as error:
        raise _refusal(path, '', error) from error
    print_log(f'{path} is trusted: code in it runs now.', 'current')
    return torch.load(path, map_location=map_location, weights_only=False)


def _named_in(error: Exception) -> str:
    """The class or function that a pickle asked for; empty if none."""
    found = re.search(r'GLOBAL (\S+)|function (.+?)(?:\n|$)', str(error))
    return next(filter(None, found.groups())) if found else ''


def _refusal(path: Path, wanted: str, error: Exception) -> SetupError:
    kind = recognize_file(path)
    if kind:
        return SetupError(f'{path} is no checkpoint of weights but {kind}')
    if not wanted:
        return SetupError(
            f'{path} cannot be read as a checkpoint, it is damaged or '
            f'something else: {first_line(error)}'
        )
    return SetupError(
        f'{path} is more than weights: it asks for {wanted}, and loading it '
        'would run code that the file contains. Get it as .safetensors, '
        'which holds no code; or, if you trust where it comes from like a '
        'program, add --trust-checkpoint (where a command has no such flag: '
        'python tools/to_safetensors.py FILE NEW.safetensors '
        '--trust-checkpoint).'
    )


def _without_code(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Rebuild the log history, and drop what a resumed run would execute."""
    meta = content.get('meta')
    if isinstance(meta, dict) and 'config' in meta:
        # Runner.resume runs this text as Python.
        meta.pop('config')
        print_log(f'{path}: the Python text in meta.config is left out.')
    hub = content.get('message_hub')
    if isinstance(hub, dict) and isinstance(hub.get('log_scalars'), dict):
        for name, history in hub['log_scalars'].items():
            if isinstance(history, _History):
                hub['log_scalars'][name] = HistoryBuffer(*history.numbers)
    return content


class _Inert:
    """What stands for a class or a function that is not called.

    mmengine's log history names ``getattr`` to find its own methods again.
    """

    def __new__(cls, *_: object) -> '_Inert':
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


class _History:
    """A ``HistoryBuffer`` before it is rebuilt from its numbers."""

    def __setstate__(self, state: dict) -> None:
        self.numbers = [
            np.asarray(state.get(name, ()), dtype=float).reshape(-1)
            for name in ('_log_history', '_count_history')
        ]


def _harmless() -> list[Any]:
    """What mmengine's checkpoints hold beside tensors, by its full name."""
    core = 'numpy._core.multiarray', 'numpy.core.multiarray'
    rebuild = np.empty(0).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    kinds = 'bBhHiIlLqQefd'
    return [
        *((rebuild, f'{module}._reconstruct') for module in core),
        *((scalar, f'{module}.scalar') for module in core),
        *{type(np.dtype(kind)) for kind in kinds},
        np.ndarray,
        np.dtype,
        (_History, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (_Inert, 'builtins.getattr'),
        (_Inert, '__builtin__.getattr'),
    ]
