"""What completes ``mmtvr`` in a shell, asked in that shell."""

import shutil
import subprocess

import pytest

from mmtvr.cli.completion import build_parser
from mmtvr.cli.main import COMMANDS

shtab = pytest.importorskip('shtab')
RECIPES = ['tpmcl_moving_shapes', 'tpmcl_msrvtt', 'ablation/infonce']
# Sets the words before the cursor, as Tab does, and prints what is offered.
BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_mmtvr 2> /dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope='module')
def parser():
    return build_parser(RECIPES)


@pytest.fixture(scope='module')
def offered(parser, tmp_path_factory):
    """Ask a shell what it offers for a line."""
    folder = tmp_path_factory.mktemp('shell')
    (folder / 'my_config.py').touch()

    def ask(shell, line):
        if shutil.which(shell) is None:
            pytest.skip(f'{shell} is not installed')
        script = folder / f'script.{shell}'
        script.write_text(shtab.complete(parser, shell))
        if shell == 'bash':
            command = ['bash', '-c', BASH, 'bash', script, *line.split(' ')]
        else:
            ask = 'source $argv[1]; complete -C $argv[2]'
            command = ['fish', '--no-config', '-c', ask, script, line]
        found = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        return {each.split('\t')[0] for each in found.splitlines()}

    return ask


@pytest.mark.parametrize('shell', ['bash', 'fish'])
@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('mmtvr se', {'search', 'serve'}),
        ('mmtvr train tpmcl_mo', {'tpmcl_moving_shapes'}),
        ('mmtvr train my_', {'my_config.py'}),
        ('mmtvr index tpmcl_ms', {'tpmcl_msrvtt'}),
        ('mmtvr train tpmcl_msrvtt --amp-dtype b', {'bf16'}),
        ('mmtvr search an_index --top', {'--top-k'}),
    ],
)
def test_a_line_is_completed(offered, shell, line, expected):
    assert offered(shell, line) == expected


def test_zsh_reads_its_script(parser, tmp_path):
    if shutil.which('zsh') is None:
        pytest.skip('zsh is not installed')
    script = tmp_path / '_mmtvr'
    script.write_text(shtab.complete(parser, 'zsh'))
    subprocess.run(['zsh', '-n', script], check=True)


def test_all_commands_are_in_it(parser):
    (commands,) = parser._get_positional_actions()
    assert set(commands.choices) == set(COMMANDS)
