"""``mmtvr reproduce``: check a published number, from files to verdict."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmtvr.cli.command import HelpFormatter, gc_disabled, run_command
from mmtvr.config import ConfigOptions
from mmtvr.distributed import LAUNCHERS, launched_rank
from mmtvr.errors import SetupError

if TYPE_CHECKING:
    from mmtvr.apis.reproduction import Comparison, Target

EXAMPLES = """
examples:
  mmtvr reproduce --list
  mmtvr reproduce clip4clip_msrvtt --check        # what is missing here
  mmtvr reproduce clip4clip_msrvtt --work-dir work_dirs/clip4clip
"""
STOPPED = 'the same command goes on from the last checkpoint'


def parse_args(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog='mmtvr reproduce',
        description='Train and test a recipe under a named protocol and '
        'compare with a published number. Exit status: 0 if every number is '
        'within the tolerance, 1 otherwise.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('name', nargs='?', help='one of --list')
    parser.add_argument(
        '--list', action='store_true', help='print what can be reproduced'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='only say what is missing; exit status 1 if anything is',
    )
    parser.add_argument(
        '--configs',
        default='configs',
        help='folder configs of a checkout (default: configs)',
    )
    parser.add_argument(
        '--work-dir', help='default: work_dirs/reproduce/CONFIG'
    )
    parser.add_argument(
        '--allow-cpu', action='store_true', help='do without a GPU'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings of the recipe',
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    options = parser.parse_args(arguments)
    if not (options.name or options.list):
        parser.error('give a name, or --list')
    return options


def main(arguments: Sequence[str]) -> int:
    """Reproduce a number; returns the exit status."""
    options = parse_args(arguments)
    return run_command(lambda: run(options), STOPPED)


def run(options: argparse.Namespace) -> None:
    """Do what is asked.

    Raises:
        SetupError: There is no such target, something is missing, or the
            number was not confirmed.
    """
    from mmtvr.apis.reproduction import (
        TARGETS,
        find_missing,
        find_target,
        load_recipe,
        train_and_test,
    )
    from mmtvr.checkpoints import guard_loading

    if options.list:
        print('\n'.join(describe(name) for name in TARGETS))
        return
    target = find_target(options.name)
    guard_loading(False)
    cfg = load_recipe(
        target, options.configs, options.cfg_options, options.work_dir
    )
    missing = find_missing(target, cfg, options.allow_cpu)
    if missing:
        lines = (f'  - {each.what}\n    {each.fix}' for each in missing)
        raise SetupError(
            f'{options.name} cannot be reproduced here yet. Missing, and how '
            'to get it:\n' + '\n'.join(lines)
        )
    if options.check:
        print(f'{options.name}: everything is there')
        return
    with gc_disabled():
        found = train_and_test(target, cfg, options.launcher)
    if not launched_rank():
        print(to_text(options.name, target, found), flush=True)
    if not found.is_within:
        # Of several processes each must fail.
        raise SetupError(f'{options.name} was not reproduced')


def describe(name: str) -> str:
    """One line about a target."""
    from mmtvr.apis.reproduction import TARGETS

    target = TARGETS[name]
    cited = ' / '.join(f'{value:.1f}' for value in target.cited.values())
    return (
        f'{name:<22}{cited:<22}{target.system}, {target.backbone}, '
        f'{target.protocol}; cited from {target.source}'
    )


def to_text(name: str, target: 'Target', found: 'Comparison') -> str:
    """The comparison as text."""
    from mmtvr.apis.reproduction import LEVELS

    lines = [
        f'{name}: {target.system}, {target.backbone}, {target.protocol}, text '
        'to video',
        f'{"":8}{"here":>8}{"cited":>8}{"apart":>8}',
    ]
    for level in LEVELS:
        if level in found.rows:
            here, cited = found.rows[level]
            lines.append(
                f'{level:<8}{here:8.1f}{cited:8.1f}{here - cited:+8.1f}'
            )
    lines.append(f'cited from {target.source}')
    if found.misfit:
        lines.append(f'not reproduced: {found.misfit}')
    else:
        verdict = 'reproduced' if found.is_within else 'not reproduced'
        lines.append(f'{verdict}: tolerance {found.tolerance:g} points')
    return '\n'.join(lines)
