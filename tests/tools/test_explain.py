"""The picture of one score, by the command line."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.errors import SetupError

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/analysis/explain.py'


@pytest.fixture
def explain(monkeypatch):
    """Run the script with arguments."""
    init_default_scope('mmtvr')
    script = runpy.run_path(str(SCRIPT))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['explain', *map(str, arguments)])
        script['main']()

    return run


def test_a_score_is_drawn_beside_its_hardest_negatives(
    explain, tiny_config, tiny_videos, tmp_path
):
    clips = tiny_videos / 'videos'
    weights = tmp_path / 'model.pth'
    model = MODELS.build(Config.fromfile(tiny_config).model)
    torch.save(dict(state_dict=model.state_dict()), weights)
    searcher = TextVideoSearcher(tiny_config, weights)
    searcher.index(clips, into=tmp_path / 'index', progress=False)
    picture = tmp_path / 'why.svg'
    explain(
        *(clips / 'video1.mp4', 'a $red$ dog', '--out', picture),
        *('--index', tmp_path / 'index', '--negatives', 2),
    )
    svg = picture.read_text(encoding='utf-8')
    assert 'a $red$ dog' in svg
    assert 'video1.mp4' in svg
    others = [n for n in (0, 2, 3, 4) if f'video{n}.mp4' in svg]
    assert len(others) == 2
    assert 'hatched: masked' in svg
    # Five videos at 10 frames a second, three frames of each.
    assert '2.5 s' in svg


def test_an_untrained_importance_is_not_shown(
    explain, tiny_config, tiny_videos, tmp_path
):
    picture = tmp_path / 'why.svg'
    explain(
        *(tiny_videos / 'videos/video1.mp4', 'a dog', '--out', picture),
        *('--config', tiny_config),
    )
    assert 'masked' not in picture.read_text(encoding='utf-8')


def test_what_to_explain_with_must_be_said(explain, tiny_videos):
    with pytest.raises(SetupError, match='--config CONFIG --checkpoint'):
        explain(tiny_videos / 'videos/video1.mp4', 'a dog')
    with pytest.raises(SetupError, match='there is no video'):
        explain('missing.mp4', 'a dog')
