"""Check keys and types of a config against what mmtvr registers."""

import inspect
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from mmengine import registry as root
from mmengine.config import Config, DictAction
from mmengine.registry import Registry

from mmtvr import registry as nodes
from mmtvr.errors import SetupError

# What mmengine's builders read and take out.
NOT_ARGUMENTS = {'type', '_scope_', '_delete_', 'convert_to_iter_based'}
# Parts of a config that are no components, and what mmengine reads of each.
PLAIN_PARTS = {
    'env_cfg': (
        *('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
        'tf32',
    ),
    'randomness': ('seed', 'deterministic', 'diff_rank_seed'),
}
# A name that is so alike is a misspelt one, and no variable of the file.
MISSPELT = 0.85
# That a message lists.
MAX_PLACES = 4
MODULE = 'torch.nn.modules.module'
RUNNER_EXTRAS = (
    'auto_scale_lr',
    'custom_imports',
    'env_cfg',
    'find_unused_parameters',
    'frozen_features',
    'model_wrapper_cfg',
    'sync_bn',
)


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check the first name of each ``--cfg-options`` key.

    mmengine ignores a top-level key that it does not know. A variable of the
    config file was used while the file was read; to change it afterwards
    changes nothing.

    Args:
        cfg: The config as the file has it, options not yet merged.
        options: Dotted keys and values.

    Raises:
        SetupError: A name is neither in the config nor known to the runner,
            or is a variable; names the keys that took its value.
    """
    read = runner_keys()
    for option in options:
        name = option.split('.')[0]
        if name in read:
            continue
        known = _describe_places(cfg, name)
        if name not in cfg:
            raise SetupError(
                f'--cfg-options {option}: the config has no `{name}`'
                f'{known or _guess(name, {*cfg, *read})}'
            )
        raise SetupError(
            f'--cfg-options {option} would change nothing: `{name}` is a '
            f'variable of the config file, used while it is read{known}'
        )


def _describe_places(cfg: Config, name: str) -> str:
    """Name the keys of a run that are called so, as options; or nothing."""
    places = [
        f'{place}.{name}'.replace('[', '.').replace(']', '')
        for place, node in walk(read_by_runner(cfg))
        if place and name in node
    ]
    if not places:
        return ''
    shown, more = places[:MAX_PLACES], len(places) - MAX_PLACES
    if more > 0:
        shown.append(f'{more} more')
    return f': set {" and ".join(shown)}'


def check_parts(cfg: Config, *needed: str) -> None:
    """Check the top of a config: what a run needs, and what none reads.

    Args:
        cfg: The config.
        *needed: Keys that the run cannot do without.

    Raises:
        SetupError: One is missing, or a name that no run reads is a
            misspelt one; names the closest key.
    """
    read = runner_keys()
    for name in cfg.keys() - read:
        close = get_close_matches(name, read, 1, MISSPELT)
        if close:
            raise SetupError(
                f'{cfg.filename} sets `{name}`, which no run reads; did you '
                f'mean `{close[0]}`?'
            )
    missing = [name for name in needed if not cfg.get(name)]
    if missing:
        raise SetupError(
            f'{cfg.filename} has no {" and no ".join(missing)}: is it the '
            'part of a config that others build on? Name a whole one, such '
            'as those that `mmtvr recipes` lists'
        )


def runner_keys() -> set[str]:
    """Top-level keys of a config that a run reads; others are variables."""
    # Half of mmengine, which most commands do not need.
    from mmengine.runner import Runner

    return {*inspect.signature(Runner).parameters, *RUNNER_EXTRAS}


def read_by_runner(cfg: Config) -> dict[str, Any]:
    """A config as plain data, without the variables of its files."""
    keys = runner_keys()
    return {key: each for key, each in cfg.to_dict().items() if key in keys}


def check_config(cfg: Config) -> None:
    """Check type and arguments of each ``dict(type=...)`` of mmtvr.

    Raises:
        SetupError: A component of mmtvr does not exist or has no such
            argument; names the place and the closest match.
    """
    scope = cfg.get('default_scope')
    faults = {}
    for name, loader in cfg.items():
        if name.endswith('_dataloader') and isinstance(loader, dict):
            known = _loader_arguments()
            for key in loader.keys() - known - NOT_ARGUMENTS:
                faults[f'there is no `{key}`{_guess(key, known)}'] = name
    for name, known in PLAIN_PARTS.items():
        for key in (cfg.get(name) or {}).keys() - {*known}:
            faults[f'there is no `{key}`{_guess(key, known)}'] = name
    for place, node in walk(cfg.to_dict()):
        for fault in find_faults(node, scope):
            faults.setdefault(fault, place)
    faults |= _check_optimizer(cfg)
    if faults:
        lines = [f'  {place}: {fault}' for fault, place in faults.items()]
        raise SetupError('\n'.join(['the config does not fit mmtvr:', *lines]))


def _check_optimizer(cfg: Config) -> dict[str, str]:
    """Faults of its type, which mmengine looks up without a word, and values.

    PyTorch compares a text with numbers, and its error names neither the
    argument nor the value.
    """
    place = 'optim_wrapper.optimizer'
    given = cfg.get('optim_wrapper', {}).get('optimizer', {})
    kind = given.get('type')
    if not isinstance(kind, str):
        return {}
    # It registers PyTorch's.
    import_module('mmengine.optim')
    optimizer = root.OPTIMIZERS.get(kind)
    if optimizer is None:
        guess = _guess(kind, root.OPTIMIZERS.module_dict)
        return {f'there is no optimizer {kind}{guess}': place}
    faults = {}
    for name, parameter in inspect.signature(optimizer).parameters.items():
        default, value = parameter.default, given.get(name)
        if isinstance(value, str) and type(default) in (int, float):
            faults[
                f'`{name}` of {kind} must be a number such as {default:g}, '
                f'got {value!r} (YAML reads 1e-4 as text: write 1.0e-4)'
            ] = place
        # betas of Adam: PyTorch unpacks them, letters of a text too.
        numbers = value if isinstance(value, list | tuple) else [value]
        if (
            name in given
            and isinstance(default, tuple)
            and (
                len(numbers) != len(default)
                or any(isinstance(number, str) for number in numbers)
            )
        ):
            faults[
                f'`{name}` of {kind} must be {len(default)} numbers such as '
                f'{default}, got {value!r}'
            ] = place
    return faults


@cache
def _loader_arguments() -> frozenset[str]:
    """What mmengine takes of a loader, and passes on to PyTorch's."""
    from torch.utils.data import DataLoader

    known = inspect.signature(DataLoader).parameters
    return frozenset((*known, 'num_batch_per_epoch'))


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check ``--cfg-options`` and put them into a config, one by one.

    Raises:
        SetupError: A key is unknown, or leads to no place in the config.
    """
    check_options(cfg, options)
    for option, value in options.items():
        try:
            cfg.merge_from_dict({option: value})
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise SetupError(
                f'--cfg-options {option}: there is no such place in the '
                f'config ({error})'
            ) from error


class ConfigOptions(DictAction):
    """The action of ``--cfg-options KEY=VALUE ...``."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Read the options."""
        for value in values:
            if '=' not in value:
                parser.error(
                    f'{option_string} {value}: expected KEY=VALUE, such as '
                    'train_cfg.max_epochs=3'
                )
        super().__call__(parser, namespace, values, option_string)


def walk(node: Any, place: str = '') -> Iterator[tuple[str, dict]]:
    """Yield path and content of all dicts in nested dicts, lists and tuples.

    A path reads ``train_dataloader.dataset.pipeline[2]``.
    """
    if isinstance(node, dict):
        yield place, node
        for key, value in node.items():
            yield from walk(value, f'{place}.{key}' if place else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from walk(value, f'{place}[{number}]')


def find_faults(node: dict, scope: str | None) -> Iterator[str]:
    """Yield a sentence per fault of one dict; none for other libraries."""
    kind = node.get('type')
    if isinstance(kind, str):
        prefix, _, name = kind.rpartition('.')
        ours = prefix == nodes.SCOPE
        if not ours and (prefix or node.get('_scope_', scope) != nodes.SCOPE):
            return
        component = our_components().get(name)
        if component is None:
            guess = _guess(name, our_components())
            if ours or (guess and not _in_mmengine(name)):
                yield f'there is no {nodes.SCOPE}.{name}{guess}'
            return
    elif getattr(kind, '__module__', '').partition('.')[0] == nodes.SCOPE:
        component, name = kind, kind.__name__
    else:
        return
    accepted = accepted_arguments(component)
    for key in node.keys() - NOT_ARGUMENTS if accepted is not None else ():
        if key not in accepted:
            yield (
                f'{nodes.SCOPE}.{name} has no argument `{key}`'
                f'{_guess(key, accepted)}'
            )


def our_components() -> dict[str, Any]:
    """Everything registered in mmtvr's registries now, by its bare name."""
    found: dict[str, Any] = {}
    for node in vars(nodes).values():
        if isinstance(node, Registry) and node.scope == nodes.SCOPE:
            node.import_from_location()
            found |= node.module_dict
    return found


def _in_mmengine(name: str) -> bool:
    # It registers what it has when it is imported, all of it with the runner.
    import_module('mmengine.runner')
    registries = (n for n in vars(root).values() if isinstance(n, Registry))
    return any(name in node.module_dict for node in registries)


def accepted_arguments(component: Any) -> set[str] | None:
    """Names of the arguments that a class or a function takes.

    ``**kwargs`` of a constructor are taken to go to the next base class that
    has one. None if they go somewhere unknown.
    """
    owners = [component]
    if inspect.isclass(component):
        owners = [
            base.__init__
            for base in component.__mro__[:-1]
            # PyTorch's takes any argument, and refuses all.
            if '__init__' in vars(base) and base.__module__ != MODULE
        ]
    names: set[str] = set()
    for owner in owners:
        parameters = inspect.signature(owner).parameters.values()
        names |= {p.name for p in parameters if p.kind != p.VAR_KEYWORD}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return names - {'self'}
    return None if owners else set()


def _guess(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f'; did you mean `{close[0]}`?' if close else ''
