import json

import pytest

from mmtvr.errors import SetupError, first_line, import_extra


def test_an_installed_extra_is_imported():
    assert import_extra('json', 'anything', 'this test') is json


def test_a_missing_extra_is_named_with_its_command():
    with pytest.raises(SetupError, match=r'mmtvr\[search\]') as caught:
        import_extra('no_such_package.part', 'search', 'this test')
    assert 'this test needs no_such_package' in str(caught.value)


def test_a_broken_extra_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / 'broken_extra.py').write_text('import no_such_dependency')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match='no_such_dependency'):
        import_extra('broken_extra', 'search', 'this test')


def test_the_first_line_of_an_error_is_never_empty():
    assert first_line(ValueError('\nno\nmore')) == 'no'
    assert first_line(ValueError()) == 'ValueError'


@pytest.mark.parametrize(
    'advice',
    [
        'Set weights_only=False to load it.',
        'you can load it unsafely with `allow_pickle=True`',
        'Please pass the argument `trust_remote_code=True`.',
    ],
)
def test_advice_to_load_unsafely_is_not_passed_on(advice):
    error = ValueError(f'x.bin has another format. {advice}')
    assert first_line(error) == 'x.bin has another format.'
    assert 'code' in first_line(ValueError(advice))
