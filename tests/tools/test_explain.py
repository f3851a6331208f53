"""The picture of one score, by the command line."""

import runpy
import sys
from pathlib import Path

import pytest

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.errors import SetupError

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/analysis/explain.py'


@pytest.fixture
def explain(monkeypatch):
    """Run the script with arguments."""
    script = runpy.run_path(str(SCRIPT))

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['explain', *map(str, arguments)])
        script['main']()

    return run


def test_a_score_is_drawn_beside_its_hardest_negatives(
    explain, tiny_config, tiny_videos, tmp_path
):
    clips = tiny_videos / 'videos'
    searcher = TextVideoSearcher(tiny_config)
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


def test_what_to_explain_with_must_be_said(explain, tiny_videos):
    with pytest.raises(SetupError, match='--config CONFIG --checkpoint'):
        explain(tiny_videos / 'videos/video1.mp4', 'a dog')
    with pytest.raises(SetupError, match='there is no video'):
        explain('missing.mp4', 'a dog')
