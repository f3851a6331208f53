import json
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoTokenizer,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from mmtvr.datasets.moving_shapes.scene import (
    MOTIONS,
    SIZE,
    WORDS,
    describe_shots,
    draw_scene,
    draw_shot,
    draw_still,
    write_caption,
)
from mmtvr.pretrained import load_pretrained, resolve_pretrained

NAME = 'mmtvr://moving-shapes-clip'
MOTION = 'mmtvr://moving-shapes-clip-motion'
TOOLS = Path(__file__).parents[3] / 'tools'


@pytest.fixture(scope='module', params=[NAME, MOTION])
def towers(request):
    return [
        load_pretrained(loader, request.param)
        for loader in (
            CLIPTextModelWithProjection,
            CLIPVisionModelWithProjection,
        )
    ]


def check_loads_silently(folder, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        tokenizer = load_pretrained(AutoTokenizer, folder)
        text = load_pretrained(CLIPTextModelWithProjection, folder)
        load_pretrained(CLIPVisionModelWithProjection, folder)
    assert capfd.readouterr() == ('', '')
    return tokenizer, text


@pytest.mark.parametrize('name', [NAME, MOTION])
def test_asset_loads_without_warnings(name, capfd):
    tokenizer, text = check_loads_silently(name, capfd)
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == text.config.max_position_embeddings
    assert text.config.eos_token_id == tokenizer.eos_token_id
    assert text.config.bos_token_id == tokenizer.bos_token_id
    # What FrameTransformer needs to start from these blocks.
    assert text.config.hidden_size == text.config.projection_dim


@pytest.mark.parametrize('name', [NAME, MOTION])
def test_asset_is_small(name):
    folder = Path(resolve_pretrained(name))
    assert (folder / 'model.safetensors').stat().st_size < 2e6
    processor = json.loads((folder / 'preprocessor_config.json').read_text())
    assert processor['crop_size'] == dict(height=SIZE, width=SIZE)


def test_tokenizer_knows_every_word_and_its_place():
    tokenizer = load_pretrained(AutoTokenizer, NAME)
    caption = ' '.join(WORDS).title()
    pieces = tokenizer(caption, return_offsets_mapping=True)
    words = [caption[start:end] for start, end in pieces['offset_mapping']]
    assert words[1:-1] == caption.split()
    ids = pieces['input_ids']
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids
    assert len(set(ids)) == len(ids)


def test_longest_caption_fits_the_recipe():
    tokenizer = load_pretrained(AutoTokenizer, NAME)
    rng = np.random.default_rng(0)
    lengths = [
        len(tokenizer(write_caption(shots)).input_ids)
        for _ in range(100)
        for shots in describe_shots(draw_scene(rng))
    ]
    assert max(lengths) == 21


@torch.no_grad()
def test_asset_matches_stills_with_captions(towers):
    text, vision = towers
    rng = np.random.default_rng(1)
    # One still for each set of names, so that no two captions mean the same.
    shots = {}
    while len(shots) < 32:
        shot = draw_still(rng)
        shots.setdefault(frozenset(a[:2] for a in shot.actors), shot)
    shots = list(shots.values())
    pixels = np.stack([draw_shot(shot, rng)[0] for shot in shots])
    pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    tokenizer = load_pretrained(AutoTokenizer, NAME)
    captions = [write_caption([shot]) for shot in shots]
    tokens = tokenizer(captions, padding=True, return_tensors='pt')
    rows = text(**tokens).text_embeds
    columns = vision(pixel_values=pixels).image_embeds
    sim = torch.cosine_similarity(rows[:, None], columns[None], dim=-1)
    hits = sim.argmax(dim=1) == torch.arange(len(shots))
    assert hits.float().mean() > 0.7


@torch.no_grad()
@pytest.mark.parametrize(('name', 'apart'), [(NAME, False), (MOTION, True)])
def test_only_one_asset_tells_words_of_motion_apart(name, apart):
    text = load_pretrained(CLIPTextModelWithProjection, name)
    tokenizer = load_pretrained(AutoTokenizer, name)
    captions = [f'a red circle {motion}' for motion in MOTIONS]
    tokens = tokenizer(captions, return_tensors='pt')
    words = text.text_projection(text.text_model(**tokens).last_hidden_state)
    word = torch.nn.functional.normalize(words[:, 4], dim=-1)
    others = (word @ word.T)[~torch.eye(len(captions)).bool()]
    assert (others.max() < 0.97) if apart else (others.min() > 0.98)


@pytest.mark.parametrize(
    ('script', 'name', 'arguments'),
    [
        ('clip', NAME, '--stills 32 --epochs 1 --batch-size 16'),
        ('motion', MOTION, '--groups 8 --steps 2 --batch-groups 4'),
    ],
)
def test_pretraining_script_writes_a_folder_that_loads(
    script, name, arguments, tmp_path, monkeypatch, capfd
):
    script = TOOLS / f'pretrain_moving_shapes_{script}.py'
    monkeypatch.setattr(
        sys, 'argv', [script.name, str(tmp_path / 'clip'), *arguments.split()]
    )
    with pytest.raises(SystemExit) as end, torch.random.fork_rng():
        runpy.run_path(str(script), run_name='__main__')
    assert not end.value.code
    capfd.readouterr()
    check_loads_silently(tmp_path / 'clip', capfd)
    shipped = Path(resolve_pretrained(name))
    unversioned = dict(transformers_version=None)
    assert {path.name for path in shipped.iterdir()} == {
        path.name for path in (tmp_path / 'clip').iterdir()
    }
    for file in ('config.json', 'tokenizer.json', 'preprocessor_config.json'):
        written, expected = (
            json.loads((folder / file).read_text()) | unversioned
            for folder in (tmp_path / 'clip', shipped)
        )
        assert written == expected, file
