"""Data and weights of a config, whole and with faults put in."""

import json
import shutil

import pytest
import torch

from mmtvr.config import load_config
from mmtvr.datasets import keywords
from mmtvr.doctor import config as module
from mmtvr.doctor.config import (
    check_captions,
    check_data,
    check_keywords,
    check_weights,
)
from mmtvr.errors import import_extra
from mmtvr.registry import MODELS

CONFIG = """
default_scope = 'mmtvr'
work_dir = {root!r}
clip = {clip!r}
model = dict(
    type='mmtvr.TextVideoRetriever',
    text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
    frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip))
train_dataloader = dict(
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root={root!r},
        ann_file='train_9k.json',
        data_prefix=dict(video='videos'),
        pipeline=[dict(type='mmtvr.TokenizeText', tokenizer=clip)]))
val_dataloader = dict(
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root={root!r},
        ann_file='test_JSFUSION.json'))
"""


@pytest.fixture
def config(tiny_clip, tiny_videos, tmp_path):
    """A config on a copy of the tiny data that may be broken."""
    root = tmp_path / 'data'
    shutil.copytree(tiny_videos, root)
    path = tmp_path / 'doctored.py'
    path.write_text(CONFIG.format(root=str(root), clip=str(tiny_clip)))
    return path


def find(findings):
    return {finding.subject: finding for finding in findings}


def test_whole_data_are_counted(config, monkeypatch):
    monkeypatch.setattr(module, 'MIN_WORK', 0)
    found = find(check_data(str(config)))
    assert {f.severity for f in found.values()} == {'ok'}
    assert '5 videos, 15 captions' in found['train data'].text
    assert '5 videos, 9 captions' in found['val data'].text
    assert 'the first video decodes' in found['val data'].text


@pytest.mark.parametrize(
    ('encoder', 'finding'),
    [
        ('package://none-such', 'pip install none-such'),
        ('open_clip:{folder}', 'open_clip_config.json'),
    ],
)
def test_encoders_that_are_not_of_transformers(
    encoder, finding, config, tmp_path
):
    encoder = encoder.format(folder=tmp_path)
    with config.open('a') as file:
        file.write(
            "model['text_encoder'] = dict(type='mmtvr.TextTower', "
            f'encoder={encoder!r})\n'
        )
    found = [f for f in check_weights(str(config)) if encoder in f.text]
    assert [each.severity for each in found] == ['error']
    assert finding in found[0].text


def lose_annotation(data):
    (data / 'train_9k.json').unlink()


def break_annotation(data):
    (data / 'train_9k.json').write_text('{"a.mp4": ["?"]}')


def lose_videos(data):
    shutil.rmtree(data / 'videos')


def lose_a_video(data):
    (data / 'videos/video3.mp4').unlink()


def break_a_video(data):
    (data / 'videos/video0.mp4').write_bytes(b'no video')


def lead_out(data):
    (data / 'train_9k.json').write_text(json.dumps({'../x.mp4': ['a dog']}))


@pytest.mark.parametrize(
    ('fault', 'subject', 'severity', 'text', 'fix'),
    [
        (lose_annotation, 'train data', 'error', 'train_9k', 'data_root'),
        (break_annotation, 'train data', 'error', 'no word', 'data_root'),
        (lose_videos, 'train data', 'error', 'no folder', 'data_prefix'),
        (lose_a_video, 'train data', 'error', '1 of 5', 'skip_missing'),
        (break_a_video, 'train data', 'warning', 'video0', 'verify.py'),
        (lead_out, 'train data', 'error', '../x.mp4', 'allow_outside'),
    ],
)
def test_each_fault_is_found_with_its_fix(
    config, fault, subject, severity, text, fix
):
    fault(config.parent / 'data')
    found = find(check_data(str(config)))[subject]
    assert found.severity == severity
    assert text in found.text
    assert fix in f'{found.text} {found.fix}'


def test_a_config_that_cannot_be_read_is_one_error(tmp_path):
    path = str(tmp_path / 'gone.py')
    (found,) = check_data(path)
    assert found.severity == 'error'
    assert 'gone.py' in found.text
    assert check_weights(path) == check_keywords(path) == []


def test_weights_and_tokenizer_are_found(config):
    found = find(check_weights(str(config)))
    assert found['tokenizer'].severity == 'ok'
    assert 'model.safetensors' in found['weights'].text


def test_missing_weights_and_code_in_a_checkpoint(
    config, tiny_clip, tmp_path, monkeypatch
):
    clip = tmp_path / 'clip'
    shutil.copytree(tiny_clip, clip)
    (clip / 'model.safetensors').unlink()
    evil = tmp_path / 'evil.pth'
    torch.save({'state_dict': print}, evil)
    text = config.read_text() + (
        f'\nload_from = {str(evil)!r}\n'
        f'model["text_encoder"]["clip"] = {str(clip)!r}\n'
        f'model["frame_encoder"]["clip"] = "/nowhere/clip"\n'
    )
    config.write_text(text)
    found = [f for f in check_weights(str(config)) if f.severity == 'error']
    texts = ' '.join(f.text for f in found)
    assert 'holds none of model.safetensors' in texts
    assert '/nowhere/clip' in texts
    assert 'would run code' in texts


def test_a_missing_tagger_of_a_recipe_names_its_extra(config, monkeypatch):
    assert check_keywords(str(config)) == []
    step = "dict(type='mmtvr.TagKeyWords')"
    text = config.read_text().replace('pipeline=[', f'pipeline=[{step}, ')
    config.write_text(text)
    (found,) = check_keywords(str(config))
    assert (found.severity, found.text) == (
        'ok',
        "TagKeyWords(tagger='hanta')",
    )

    def refuse(_):
        import_extra('no_hanta', 'keywords', 'tagging')

    monkeypatch.setattr(keywords, 'HanTaTagger', refuse)
    keywords.load_tagger.cache_clear()
    (found,) = check_keywords(str(config))
    assert found.severity == 'error'
    assert "pip install 'mmtvr[keywords]'" in found.text


def test_variables_of_the_file_are_not_what_the_run_needs(config):
    with config.open('a') as file:
        file.write(
            "leftover = [dict(type='mmtvr.TokenizeText', tokenizer='/no'),"
            " dict(type='mmtvr.TagKeyWords', tagger='/nowhere')]\n"
        )
    assert {each.severity for each in check_weights(str(config))} == {'ok'}
    assert check_keywords(str(config)) == []


def test_captions_that_the_tokenizer_does_not_know_are_counted(config):
    (sound,) = check_captions(str(config))
    assert sound.severity == 'ok'
    path = config.with_name('shapes.py')
    text = config.read_text().replace(
        'tokenizer=clip', "tokenizer='mmtvr://moving-shapes-clip'"
    )
    path.write_text(text)
    (found,) = check_captions(str(path))
    assert found.severity == 'warning'
    assert '15 of 15 captions hold words' in found.text


@pytest.mark.parametrize(
    ('names', 'severity', 'words'),
    [
        (slice(None), 'ok', 'weights fit'),
        (slice(3), 'warning', '3 of'),
        (slice(0), 'error', '0 of'),
    ],
)
def test_how_weights_to_start_from_fit_is_said(
    config, tmp_path, names, severity, words
):
    config.write_text(
        config.read_text()
        + "\nmodel['head'] = dict(type='mmtvr.CosineHead')"
        + "\nmodel['contrastive_loss'] = dict(type='mmtvr.InfoNCELoss')"
    )
    cfg = load_config(str(config))
    model = MODELS.build(cfg.model).state_dict()
    kept = dict(list(model.items())[names]) | dict(theirs=torch.ones(1))
    torch.save(kept, tmp_path / 'x.pth')
    path = config.with_name('from.py')
    start = f'\nload_from = {str(tmp_path / "x.pth")!r}\n'
    path.write_text(config.read_text() + start)
    found = find(check_weights(str(path)))['checkpoint']
    assert found.severity == severity
    assert words in found.text
