"""The pages of docs/ name tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLES = (
    *('explanation/differences.md', 'explanation/golden_tests.md'),
    *('explanation/evaluation.md', 'how-to/cache.md'),
    *('how-to/serve.md', 'how-to/encoders.md'),
)
CODE = re.compile(r'`([^`]+)`')
BLOCK = re.compile(r'```.*?```', re.DOTALL)


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
