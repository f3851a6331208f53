"""Names of pretrained models, and what is said when they are missing."""

import pytest
from transformers import AutoTokenizer, CLIPTextModelWithProjection

from mmtvr import pretrained
from mmtvr.errors import SetupError
from mmtvr.pretrained import load_pretrained, resolve_pretrained


def test_other_names_stay_as_they_are(tmp_path):
    assert resolve_pretrained('openai/clip') == 'openai/clip'
    assert resolve_pretrained(tmp_path) == str(tmp_path)


def test_unknown_asset_lists_what_ships():
    with pytest.raises(SetupError, match='mmtvr://nothing-of-ours'):
        resolve_pretrained('mmtvr://nothing-of-ours')


def test_local_folder_loads_without_a_word(tiny_clip, capfd):
    load_pretrained(CLIPTextModelWithProjection, str(tiny_clip))
    load_pretrained(AutoTokenizer, str(tiny_clip))
    assert capfd.readouterr() == ('', '')


def test_folder_without_weights_is_named(tmp_path):
    with pytest.raises(SetupError, match=str(tmp_path)):
        load_pretrained(CLIPTextModelWithProjection, str(tmp_path))


@pytest.mark.parametrize('name', ['./none', 'a/b/c', 'none', '/no/where'])
def test_path_that_is_not_there_is_told_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match='There is no folder'):
        load_pretrained(AutoTokenizer, name)


def test_unreachable_hub_is_one_message(monkeypatch):
    monkeypatch.setattr(pretrained.constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(
        pretrained.constants, 'ENDPOINT', 'https://hub.invalid'
    )
    monkeypatch.setattr(pretrained.urllib.request, 'getproxies', dict)
    with pytest.raises(SetupError, match='hf download nobody/clip-none'):
        load_pretrained(AutoTokenizer, 'nobody/clip-none')
