"""No file of the product unpickles, or runs text, but where it says so."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Name of a call: the argument that makes it harmless, None for none.
CALLS = {
    'torch.load': ('weights_only', True),
    'np.load': ('allow_pickle', False),
    'numpy.load': ('allow_pickle', False),
    'pickle.load': None,
    'pickle.loads': None,
    'pickle.Unpickler': None,
    'joblib.load': None,
    'yaml.load': None,
    'mmengine.load': None,
    'Config.fromstring': None,
    'eval': None,
    'exec': None,
}
# --trust-checkpoint, which says what it means.
ALLOWED = {('mmtvr/checkpoints.py', 'torch.load')}


def find_calls(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name not in CALLS:
            continue
        harmless = CALLS[name]
        given = {
            each.arg: each.value.value
            for each in node.keywords
            if isinstance(each.value, ast.Constant)
        }
        if harmless is None or given.get(harmless[0]) is not harmless[1]:
            yield name


@pytest.mark.parametrize('folder', ['mmtvr', 'tools'])
def test_nothing_that_others_made_is_executed(folder):
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in (ROOT / folder).rglob('*.py')
        if '.mim' not in path.parts
        for name in find_calls(path.read_text(encoding='utf-8'))
    }
    assert found - ALLOWED == set()


def test_the_search_finds_each_call():
    for name, harmless in CALLS.items():
        assert list(find_calls(f'{name}(x)')) == [name]
        if harmless is not None:
            argument, value = harmless
            assert list(find_calls(f'{name}(x, {argument}={value})')) == []
            other = f'{name}(x, {argument}={not value})'
            assert list(find_calls(other)) == [name]
