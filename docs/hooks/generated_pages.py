"""Pages of the site that are made from the code when the site is built.

MkDocs calls ``on_files`` and ``on_page_markdown``. Components come from the
registries, commands from their parsers, config keys from what a run reads,
the model zoo from ``configs/recipes.csv``.
"""

import argparse
import inspect
import re
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from docstring_markup import as_markdown
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mmengine.config import Config
from mmengine.registry import Registry

from mmtvr import apis, registry
from mmtvr.cli import prepare_table
from mmtvr.cli.completion import read_parser
from mmtvr.cli.main import COMMANDS
from mmtvr.cli.prepare import prepare_benchmark
from mmtvr.config import walk
from mmtvr.config.check import (
    find_faults,
    our_components,
    read_by_runner,
    runner_keys,
)
from mmtvr.config.reading import read_recipes

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs'

# Page of components: its title, and the modules or registries it shows.
GROUPS = {
    'datasets': ('Datasets and samplers', ['DATASETS', 'DATA_SAMPLERS']),
    'transforms': ('Transforms', ['TRANSFORMS', 'FUNCTIONS']),
    'readers': ('Video readers', ['VIDEO_READERS']),
    'models': ('Models', ['MODELS']),
    'encoders': ('Encoders', ['mmtvr.models.encoders']),
    'temporal': (
        'Temporal encoders',
        ['mmtvr.models.temporal', 'mmtvr.models.distillation.Frame'],
    ),
    'heads': ('Heads', ['mmtvr.models.heads']),
    'losses': ('Losses', ['mmtvr.losses']),
    'partial_order': ('Partial order', ['mmtvr.models.partial_order']),
    'metrics': ('Metrics', ['METRICS']),
    'engine': (
        'Loops, hooks and optimiser',
        ['LOOPS', 'HOOKS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'PARAM_SCHEDULERS'],
    ),
}
# Recipes that show how a config names a component, first ones first.
EXAMPLES = (
    *('tpmcl_msrvtt', 'clip4clip_msrvtt', 'tpmcl_moving_shapes'),
    *('videocolbert_msrvtt', 'dmae_emoji', 'teachclip_moving_shapes'),
    *('partial-order_moving_shapes', 'wti_msrvtt'),
)
# What a config has beside the arguments of mmengine's Runner. The doctor and
# the commands read these.
OWN_KEYS = {
    'auto_scale_lr': '`base_batch_size`, the global batch that the learning '
    'rate is meant for. `--auto-scale-lr` scales the rate by the batch of '
    'this run.',
    'custom_imports': 'Modules to import before anything is built. Not '
    'needed for components of mmtvr, which are found by their prefix.',
    'env_cfg': 'Processes: `dist_cfg.backend`, `dist_cfg.timeout` (seconds '
    'without progress until a run is stopped), `mp_cfg`, `cudnn_benchmark`.',
    'find_unused_parameters': "Of PyTorch's `DistributedDataParallel`.",
    'frozen_features': 'Folder of features that `mmtvr extract` wrote; '
    'training then reads them in place of videos.',
    'model': 'The model: '
    '[`mmtvr.TextVideoRetriever`](components/models.md#TextVideoRetriever).',
    'model_wrapper_cfg': 'What wraps the model when there are several '
    'processes.',
    'sync_bn': 'Replace batch norm by its synchronised form.',
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for place, text in generate_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Put the recipes into the page that asks for them."""
    if '<!-- recipes -->' in markdown:
        markdown = markdown.replace('<!-- recipes -->', list_recipes())
    return markdown


def generate_pages() -> dict[str, str]:
    """Markdown by path below ``docs``."""
    return {
        'reference/api.md': describe_api(),
        'reference/commands.md': describe_commands(),
        'reference/config.md': describe_keys(),
        'reference/components/index.md': list_components(),
        **{
            f'reference/components/{name}.md': describe_group(name)
            for name in GROUPS
        },
        'about/changelog.md': take_in(ROOT / 'CHANGELOG.md'),
        'about/contributing.md': take_in(ROOT / 'CONTRIBUTING.md'),
    }


def take_in(path: Path) -> str:
    """A page of the root: links into docs lead on, others become text."""
    text = re.sub(r'\]\(docs/', '](../', path.read_text())
    return re.sub(r'\[([^]]*)\]\((?!\.\./|http)[^)]*\)', r'`\1`', text)


# ---------------------------------------------------------------- Python API


def describe_api() -> str:
    """Everything that ``mmtvr.apis`` exports, from its docstrings."""
    lines = [
        '# Python API',
        '',
        'What `mmtvr.apis` exports is public: names and arguments change '
        'only with a release that still takes the old ones. Errors that a '
        'user can fix are `mmtvr.errors.SetupError`.',
    ]
    for name in sorted(apis.__all__, key=lambda name: (name[0].islower(),)):
        target = getattr(apis, name)
        path = f'{target.__module__}.{target.__qualname__}'
        lines += [
            *('', f'## `mmtvr.apis.{name}` {{ #{name} }}', ''),
            f'::: {path}',
            '    options:',
            '      show_root_heading: false',
            '      show_root_toc_entry: false',
            '      heading_level: 3',
        ]
    return '\n'.join(lines)


# ---------------------------------------------------------------- components


class Component(NamedTuple):
    """A registered class or function."""

    name: str
    target: Any
    kind: str

    @property
    def path(self) -> str:
        """Where Python finds it."""
        return f'{self.target.__module__}.{self.target.__qualname__}'


@cache
def find_components() -> tuple[Component, ...]:
    """All that mmtvr registers."""
    our_components()
    return tuple(
        Component(name, target, kind)
        for kind, node in vars(registry).items()
        if isinstance(node, Registry) and node.scope == registry.SCOPE
        for name, target in node.module_dict.items()
    )


def find_group(component: Component) -> str:
    """The page of a component: of its module, else of its registry."""
    for name, (_, members) in GROUPS.items():
        if any(component.path.startswith(m) for m in members if '.' in m):
            return name
    for name, (_, members) in GROUPS.items():
        if component.kind in members:
            return name
    raise LookupError(f'no page in GROUPS takes {component}')


def list_components() -> str:
    """A table of all components with their first lines."""
    lines = [
        '# Components',
        '',
        'Everything that mmtvr registers, as `mmtvr.NAME` in any config of '
        'mmengine, mmaction2 included. Each entry has its arguments and an '
        'example.',
    ]
    for group, (title, _) in GROUPS.items():
        lines += ['', f'## {title}', '', '| component | |', '|---|---|']
        lines += [
            f'| [`{each.name}`]({group}.md#{each.name}) '
            f'| {summarise(each.target)} |'
            for each in find_components()
            if find_group(each) == group
        ]
    return '\n'.join(lines)


def summarise(target: Any) -> str:
    """The first line of a docstring, as Markdown."""
    return summarise_text((inspect.getdoc(target) or '').partition('\n')[0])


def summarise_text(text: str) -> str:
    """The first sentence of a docstring, for a table."""
    first = re.split(r'(?<=[.])\s', ' '.join(text.split()))[0]
    return as_markdown(first).replace('``', '`').replace('|', r'\|')


def describe_group(group: str) -> str:
    """The page of a group of components."""
    lines = [f'# {GROUPS[group][0]}', '']
    for each in find_components():
        if find_group(each) != group:
            continue
        lines += [
            *(f'## `mmtvr.{each.name}` {{ #{each.name} }}', ''),
            f'::: {each.path}',
            '    options:',
            '      show_root_heading: false',
            '      show_root_toc_entry: false',
            '      members: false',
            *('', *show_example(each), ''),
        ]
    return '\n'.join(lines)


def show_example(component: Component) -> list[str]:
    """How a config names a component.

    Raises:
        LookupError: The component would not take the example.
    """
    if component.kind == 'VIDEO_READERS':
        reader = component.name.removesuffix('Reader').lower()
        example = dict(
            type='mmtvr.LoadVideoFrames', num_frames=12, reader=reader
        )
        return ['In a config:', '', *as_code(example)]
    if component.name in examples():
        place, recipe, node = examples()[component.name]
        return [f'`{place}` of `{recipe}`:', '', *as_code(node)]
    node = defaults(component)
    if faults := list(find_faults(node, registry.SCOPE)):
        raise LookupError(f'example of {component.name}: {faults}')
    return ['In a config, with its defaults:', '', *as_code(node)]


@cache
def examples() -> dict[str, tuple[str, str, Any]]:
    """Place, recipe and content of each component that a recipe uses."""
    found: dict[str, tuple[str, str, Any]] = {}
    wanted = {each.name for each in find_components()}
    for recipe in EXAMPLES:
        cfg = Config.fromfile(CONFIGS / f'{recipe}.py')
        for place, node in walk(read_by_runner(cfg)):
            for value in node.values():
                name = str(value).removeprefix('mmtvr.')
                if name in wanted:
                    found.setdefault(name, (place, recipe, node))
    return found


def defaults(component: Component) -> dict[str, Any]:
    """A config of a component with its default arguments."""
    node: dict[str, Any] = dict(type=f'mmtvr.{component.name}')
    for name, argument in inspect.signature(
        component.target
    ).parameters.items():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            continue
        value = argument.default
        node[name] = Ellipsis if value is argument.empty else value
    return node


def as_code(node: Any) -> list[str]:
    """A config as a block of Python."""
    return ['```python', *format_node(node, '').split('\n'), '```']


def format_node(node: Any, indent: str, width: int = 76) -> str:
    """Write nested dicts as ``dict(...)``, a line each where it is long."""
    if isinstance(node, dict) and all(str(k).isidentifier() for k in node):
        inside = [(f'{k}=', v) for k, v in node.items()]
        opening, closing = 'dict(', ')'
    elif isinstance(node, dict):
        inside = [(f'{k!r}: ', v) for k, v in node.items()]
        opening, closing = '{', '}'
    elif isinstance(node, list):
        inside, opening, closing = [('', v) for v in node], '[', ']'
    elif isinstance(node, tuple) and len(node) > 1:
        inside, opening, closing = [('', v) for v in node], '(', ')'
    else:
        return '...' if node is Ellipsis else repr(node)
    parts = [key + format_node(v, indent + '    ') for key, v in inside]
    line = opening + ', '.join(parts) + closing
    if '\n' not in line and len(indent) + len(line) <= width:
        return line
    lines = [f'{indent}    {part},' for part in parts]
    return '\n'.join([opening, *lines, indent + closing])


# ------------------------------------------------------------------ commands


def find_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each command of ``mmtvr`` with its parser."""
    for name, (module, _) in COMMANDS.items():
        yield f'mmtvr {name}', read_parser(import_module(module).main)
        if name == 'prepare':
            # Its first word chooses another parser.
            yield 'mmtvr prepare table', read_parser(prepare_table.main)
            benchmark = partial(prepare_benchmark, 'didemo')
            yield 'mmtvr prepare didemo', read_parser(benchmark)


def describe_commands() -> str:
    """All commands with their options."""
    lines = [
        '# Commands',
        '',
        '`mmtvr COMMAND --help` says the same in the terminal. CONFIG is a '
        'file or the name of a [recipe](../model_zoo.md). In a checkout, '
        '`python tools/train.py`, `tools/test.py`, `tools/evaluate.py` and '
        'the others are the same commands.',
        *('', '| command | |', '|---|---|'),
    ]
    lines += [
        f'| [`mmtvr {name}`](#mmtvr-{name}) | {what} |'
        for name, (_, what) in COMMANDS.items()
    ]
    for name, parser in find_parsers():
        anchor = name.lower().replace(' ', '-')
        lines += ['', f'## `{name}` {{ #{anchor} }}', '']
        lines += describe_parser(name, parser)
    return '\n'.join(lines)


def describe_parser(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[str]:
    """What a command does, its arguments, and the end of its help."""
    if parser.description:
        yield from (escape(line) for line in parser.description.split('\n'))
        yield ''
    actions = [a for a in parser._actions if a.help != argparse.SUPPRESS]
    rows = [
        (show_flags(action), explain(parser, action))
        for action in actions
        if not isinstance(action, argparse._HelpAction)
    ]
    if rows:
        yield from ('| argument | |', '|---|---|')
        yield from (f'| {flags} | {text} |' for flags, text in rows)
        yield ''
    if parser.epilog:
        # As argparse does: other signs of per cent are text.
        epilog = parser.epilog.strip('\n').replace('%(prog)s', parser.prog)
        yield from ('```text', *epilog.split('\n'), '```', '')


def show_flags(action: argparse.Action) -> str:
    """An argument as the command line has it."""
    formatter = argparse.HelpFormatter('')
    if not action.option_strings:
        return f'`{formatter._format_args(action, action.dest)}`'
    value = formatter._format_args(action, action.dest.upper())
    flags = ', '.join(f'`{flag}`' for flag in action.option_strings)
    return f'{flags} `{value}`'.replace('|', r'\|') if value else flags


def explain(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help of an argument with its choices."""
    text = parser._get_formatter()._expand_help(action) if action.help else ''
    if action.choices and not action.metavar:
        text = f'{text}; one of ' if text else 'one of '
        text += ', '.join(f'`{choice}`' for choice in action.choices)
        return text.replace('|', r'\|')
    return escape(text)


def escape(text: str) -> str:
    """Text of a help as Markdown that reads the same."""
    pieces = re.split(r'(`[^`]*`)', text)
    return ''.join(
        piece
        if piece.startswith('`')
        else re.sub(r'([*_<>|\[\]])', r'\\\1', piece)
        for piece in pieces
    )


# --------------------------------------------------------------- config keys


def describe_keys() -> str:
    """What a run reads of a config.

    Raises:
        LookupError: A key is not described, here or by mmengine.
    """
    cfg = Config.fromfile(CONFIGS / 'tpmcl_msrvtt.py')
    lines = [
        '# Config keys',
        '',
        "A config is a Python file of mmengine: what mmengine's documentation "
        'says of `_base_`, `_delete_` and `--cfg-options` holds. Keys below '
        '`model`, `*_dataloader.dataset`, hooks and so on are arguments of '
        'their type: see [components](components/index.md). Any other name '
        'at the top is a variable of the file, used while it is read; '
        '`--cfg-options` refuses to set it.',
        *('', '| key | what it is | in `tpmcl_msrvtt` |', '|---|---|---|'),
    ]
    facts = runner_docs() | OWN_KEYS
    keys = runner_keys() - {'cfg'}
    if unknown := keys - facts.keys():
        raise LookupError(f'no description in OWN_KEYS of {unknown}')
    for key in sorted(keys):
        value = show_value(cfg[key]) if key in cfg else ''
        lines.append(f'| `{key}` | {facts[key]} | {value} |')
    lines += [
        *('', '## Keys that stand for several', ''),
        '| key | what it sets |',
        '|---|---|',
        '| `model.encoder` | both towers, sizes, tokenizer and temperature '
        'by the name of a model: [encoders](../how-to/encoders.md) |',
        '| `model.lora` | adapters in the towers: '
        '[cheap training](../how-to/cheap_training.md) |',
        '| `model.frozen_encoders` | trains the other parts alone: '
        '[cheap training](../how-to/cheap_training.md) |',
        '| `model.cached_contrastive.chunk` | encodes a large batch in '
        'pieces: [training](../how-to/training.md#a-larger-batch) |',
        '| `frozen_features` | reads features in place of videos: '
        '[cheap training](../how-to/cheap_training.md) |',
        *('', '## A whole config', ''),
        '`tpmcl_msrvtt`, with all files that it builds on, without the '
        'variables:',
        *('', '```python'),
    ]
    lines += [
        f'{key} = {format_node(value, "")}'
        for key, value in cfg.to_dict().items()
        if key in runner_keys()
    ]
    return '\n'.join([*lines, '```'])


def runner_docs() -> dict[str, str]:
    """What mmengine says of the arguments of its runner."""
    import griffe
    from mmengine.runner import Runner

    sections = griffe.Docstring(inspect.getdoc(Runner)).parse(
        'google', warnings=False
    )
    return {
        each.name: summarise_text(each.description)
        for section in sections
        if section.kind is griffe.DocstringSectionKind.parameters
        for each in section.value
    }


def show_value(value: Any) -> str:
    """A value for a table: its type, or itself where it is short."""
    if isinstance(value, dict) and 'type' in value:
        return f'`{value["type"]}`'
    text = format_node(value, '', width=10_000)
    return f'`{text}`' if len(text) <= 60 else 'below'


# ----------------------------------------------------------------- model zoo


def list_recipes() -> str:
    """Tables of recipes by data set, with their results."""
    rows = [row for row in read_recipes() if row['data']]
    with_results = {row['data'] for row in rows if row['source']}
    sets = sorted(
        {row['data'] for row in rows},
        key=lambda data: (data not in with_results, data),
    )
    lines = []
    for data in sets:
        lines += [
            *('', f'### {data}', ''),
            '| recipe | encoder | frames | words | batch | t2v R@1 | |',
            '|---|---|--:|--:|--:|--:|---|',
        ]
        lines += [
            f'| `{row["recipe"]}` | `{row["encoder"]}` | {row["frames"]} '
            f'| {row["words"]} | {row["batch"]} '
            f'| {row["t2v R@1"]} | {row["source"] or "not run here"} |'
            for row in rows
            if row['data'] == data
        ]
    return '\n'.join(lines)
