"""``mmtvr completion``: print what completes ``mmtvr`` in a shell."""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from unittest.mock import patch

from mmtvr.cli.command import run_command
from mmtvr.cli.main import COMMANDS

EXAMPLES = """
examples, each in effect in the next shell:
  mmtvr completion bash > ~/.local/share/bash-completion/completions/mmtvr
  mmtvr completion zsh > "${fpath[1]}/_mmtvr"
  mmtvr completion fish > ~/.config/fish/completions/mmtvr.fish

or for this one alone:
  source <(mmtvr completion bash)

It completes commands, options, their choices, names of recipes, and files.
The script knows the commands and recipes of this version: print it again
after an update of mmtvr.
"""
SHELLS = ('bash', 'zsh', 'fish')
# Of each shell, a function that completes a config: a recipe or a file.
CONFIG = {
    'bash': """
_mmtvr_config() {{
  compgen -W "{names}" -- "$1"
  compgen -f -- "$1"
}}
""",
    'zsh': """
_mmtvr_config() {{
  _alternative 'recipes:recipe:({names})' 'files:file:_files'
}}
""",
    'fish': """
function _mmtvr_config
  string split ' ' -- '{names}'
  __fish_complete_path (commandline -ct)
end
""",
}


class _Read(BaseException):
    """Carries the parser of a command out of it, before it does anything."""


def read_parser(
    main: Callable[[Sequence[str]], int],
) -> argparse.ArgumentParser:
    """Get the parser of a command, without running the command.

    Args:
        main: Reads its arguments and runs it.
    """

    def leave(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Read(parser)

    with patch.object(argparse.ArgumentParser, 'parse_known_args', leave):
        try:
            main([])
        except _Read as read:
            return read.args[0]
    raise AssertionError(f'{main} reads no arguments')


def build_parser(recipes: Sequence[str]) -> argparse.ArgumentParser:
    """Put the parsers of all commands under one.

    Args:
        recipes: Names that complete what is a config, beside files.
    """
    import shtab

    names = ' '.join(recipes)
    config = {
        'bash': '_mmtvr_config',
        'zsh': '_mmtvr_config',
        'fish': '(_mmtvr_config)',
        'preamble': {
            shell: function.format(names=names)
            for shell, function in CONFIG.items()
        },
    }
    root = argparse.ArgumentParser('mmtvr')
    commands = root.add_subparsers(dest='command')
    for command, (module, about) in COMMANDS.items():
        parser = read_parser(import_module(module).main)
        for action in parser._actions:
            if action.dest in ('config', 'subject'):
                action.complete = config
            elif action.nargs != 0 and not action.choices:
                action.complete = shtab.FILE
        commands.add_parser(
            command, help=about, parents=[parser], add_help=False
        )
    return root


def write_script(shell: str) -> str:
    """Write the script that completes ``mmtvr``.

    Args:
        shell: Out of ``SHELLS``.
    """
    import shtab

    from mmtvr.config.reading import find_recipes

    return shtab.complete(build_parser([*find_recipes()]), shell)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mmtvr completion`` and return its exit status."""
    parser = argparse.ArgumentParser(
        'mmtvr completion',
        description='Print a script that completes `mmtvr` in a shell.',
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('shell', choices=SHELLS)
    args = parser.parse_args(argv)
    return run_command(lambda: print(write_script(args.shell)))
