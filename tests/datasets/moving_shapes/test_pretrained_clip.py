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
SCRIPT = Path(__file__).parents[3] / 'tools' / 'pretrain_moving_shapes_clip.py'


@pytest.fixture(scope='module')
def towers():
    return [
        load_pretrained(loader, NAME)
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


def test_asset_loads_without_warnings(capfd):
    tokenizer, text = check_loads_silently(NAME, capfd)
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == text.config.max_position_embeddings
    assert text.config.eos_token_id == tokenizer.eos_token_id
    assert text.config.bos_token_id == tokenizer.bos_token_id
    # What FrameTransformer needs to start from these blocks.
    assert text.config.hidden_size == text.config.projection_dim


def test_asset_is_small():
    folder = Path(resolve_pretrained(NAME))
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


def test_pretraining_script_writes_a_folder_that_loads(
    tmp_path, monkeypatch, capfd
):
    arguments = ['--stills', '32', '--epochs', '1', '--batch-size', '16']
    monkeypatch.setattr(
        sys, 'argv', [SCRIPT.name, str(tmp_path / 'clip'), *arguments]
    )
    with pytest.raises(SystemExit) as end, torch.random.fork_rng():
        runpy.run_path(str(SCRIPT), run_name='__main__')
    assert not end.value.code
    capfd.readouterr()
    check_loads_silently(tmp_path / 'clip', capfd)
    shipped = Path(resolve_pretrained(NAME))
    for name in ('config.json', 'tokenizer.json', 'preprocessor_config.json'):
        written = (tmp_path / 'clip' / name).read_text()
        assert written == (shipped / name).read_text(), name
