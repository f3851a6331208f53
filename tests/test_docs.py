"""The README and the pages of docs/ say what is there.

Blocks of code are read, not run: those that are run have tests of their own.
"""

import argparse
import ast
import importlib
import re
import runpy
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from mmengine.config import Config

from mmtvr.config.check import (
    check_config,
    find_faults,
    merge_options,
    our_components,
)
from mmtvr.config.reading import find_recipes

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
TABLES = (
    *('explanation/differences.md', 'explanation/golden_tests.md'),
    *('explanation/evaluation.md', 'how-to/cache.md'),
    *('how-to/serve.md', 'how-to/encoders.md'),
)
CODE = re.compile(r'`([^`]+)`')
BLOCK = re.compile(r'^( *)```(\w*)\n(.*?)^\1```', re.DOTALL | re.MULTILINE)
SEPARATORS = re.compile(r'\s(?:&&|\|\|?|>)\s')


def each_page():
    return pytest.mark.parametrize(
        'page', PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES]
    )


def blocks(page, *languages):
    """The code blocks of a page, without their indentation."""
    for indent, language, text in BLOCK.findall(page.read_text()):
        if language in languages:
            yield re.sub(f'^{indent}', '', text, flags=re.MULTILINE)


def python_blocks(page):
    yield from blocks(page, 'python')
    for block in blocks(page, 'pycon'):
        lines = re.findall(r'^(?:>>>|\.\.\.) ?(.*)', block, re.MULTILINE)
        yield '\n'.join(lines)


@each_page()
def test_python_compiles_and_imports_what_is_there(page):
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module.partition('.')[0] == 'mmtvr'
                # The head that this page adds.
                and page.name != 'extending.md'
            ):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), name.name


@each_page()
def test_components_exist_and_take_their_arguments(page):
    known = our_components()
    for block in python_blocks(page):
        for call in ast.walk(ast.parse(block)):
            if not isinstance(call, ast.Call) or not call.keywords:
                continue
            given = {each.arg: each.value for each in call.keywords}
            kind = getattr(given.get('type'), 'value', None)
            name = str(kind).removeprefix('mmtvr.')
            if str(kind).startswith('mmtvr.') and (
                name in known or page.name != 'extending.md'
            ):
                node = dict.fromkeys(given) | dict(type=kind)
                assert not list(find_faults(node, 'mmtvr')), block


@each_page()
def test_configs_and_recipes_exist(page):
    text = page.read_text()
    for path in re.findall(r'configs/[\w./-]+\.(?:py|csv)', text):
        assert (ROOT / path).is_file(), path
    recipes = find_recipes()
    for path in re.findall(r'mmtvr::([\w./-]+)\.py', text):
        assert path in recipes, path
    for path in re.findall(r'`([\w-]+_(?:msrvtt|moving_shapes))`', text):
        assert path in recipes, path


class Accepted(BaseException):
    """A parser has read the whole command line, into ``args[0]``."""


def command_lines(page):
    """Command lines of the shell blocks of a page, as lists of words."""
    for block in blocks(page, 'shell'):
        for line in block.replace('\\\n', ' ').splitlines():
            for part in SEPARATORS.split(line):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r'[A-Z_]+=.*', words[0]):
                    words.pop(0)
                if words:
                    yield words


def read_by_its_parser(words):
    """Let a command of mmtvr read its arguments, and run no further.

    Returns:
        The arguments; None if it is another command.

    Raises:
        SystemExit: It refuses them.
    """
    if words[0] == 'torchrun':
        # Behind the options of the launcher.
        starts = (word == '-m' or word.endswith('.py') for word in words)
        words = ['python', *words[list(starts).index(True) :]]
    if words[:3] == ['python', '-m', 'mmtvr']:
        words = ['mmtvr', *words[3:]]
    if words[0] == 'mmtvr':
        from mmtvr.cli.main import main

        def run():
            main(words[1:])

    elif words[0] == 'python' and words[1].startswith('tools/'):
        tool = str(ROOT / words[1])

        def run():
            with patch.object(sys, 'argv', [tool, *words[2:]]):
                runpy.run_path(tool, run_name='__main__')

    elif words[0] == 'python' and words[1] == '-m':
        # Found, not imported: each would import all that it measures with.
        place = words[2].replace('.', '/')
        assert words[2].split('.')[0] == 'benchmarks'
        assert (
            list(ROOT.glob(f'{place}.py'))
            or (ROOT / place / '__main__.py').is_file()
        ), words[2]
        return None
    else:
        return None
    originals = {
        name: getattr(argparse.ArgumentParser, name)
        for name in ('parse_args', 'parse_intermixed_args')
    }

    def parse(name):
        def read(self, args=None, namespace=None):
            with patch.object(
                argparse.ArgumentParser,
                'parse_args',
                originals['parse_args'],
            ):
                found = originals[name](self, args, namespace)
            # Its first word chooses another parser.
            if self.prog == 'mmtvr prepare':
                return found
            raise Accepted(found)

        return read

    with (
        patch.object(
            argparse.ArgumentParser, 'parse_args', parse('parse_args')
        ),
        patch.object(
            argparse.ArgumentParser,
            'parse_intermixed_args',
            parse('parse_intermixed_args'),
        ),
    ):
        try:
            run()
        except Accepted as accepted:
            return accepted.args[0]
    raise AssertionError(f'{words} reads no arguments')


@each_page()
def test_command_lines_are_read_by_their_parsers(page):
    for words in command_lines(page):
        output = StringIO()
        try:
            with redirect_stderr(output), redirect_stdout(output):
                found = read_by_its_parser(words)
        except SystemExit as refused:
            raise AssertionError(
                f'{shlex.join(words)}: {output.getvalue()}'
            ) from refused
        options = getattr(found, 'cfg_options', None)
        config = getattr(found, 'config', None)
        if options and config and (ROOT / config).is_file():
            cfg = Config.fromfile(ROOT / config)
            merge_options(cfg, options)
            # It stands for other towers, out of files of a model.
            if 'encoder' not in cfg.model:
                check_config(cfg)


def test_a_wrong_option_is_noticed():
    with redirect_stderr(StringIO()), pytest.raises(SystemExit):
        read_by_its_parser(['mmtvr', 'train', 'CONFIG', '--no-such-option'])
    words = ['mmtvr', 'prepare', 'table', 'a.csv', 'OUT']
    assert read_by_its_parser(words).output == Path('OUT')


@each_page()
def test_links_and_pictures_are_there(page):
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    for link in re.findall(r'\]\((?!\w+:)([^)#\s]+)', text):
        if not link.startswith('reference/') and '/reference/' not in link:
            target = page.parent / link
            # Made from these of the root when the site is built.
            if target.parent.name == 'about' and not target.exists():
                target = ROOT / f'{target.stem.upper()}.md'
            assert target.exists(), link


def named_tests(page):
    """Pairs of test file and test function that a page names.

    ``::test_x`` alone means a test of the file named before it; in a list of
    files, of each of them.
    """
    files = []
    for code in CODE.findall(BLOCK.sub('', page)):
        path, _, function = code.partition('::')
        if path.endswith('.py') and Path(path).name.startswith('test_'):
            files = [path.removeprefix('tests/')]
            yield files[0], function
        elif not path and function.startswith('test_') and files:
            yield files[0], function


@pytest.mark.parametrize('name', TABLES)
def test_every_named_test_exists(name):
    pairs = list(named_tests((ROOT / 'docs' / name).read_text()))
    assert len(pairs) > 10
    for path, function in pairs:
        file = ROOT / 'tests' / path
        assert file.is_file(), path
        if function:
            assert f'def {function}(' in file.read_text(), (path, function)
