"""The commands that plot, on tiny models and videos."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.cli import browse_dataset, explain, failures


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmtvr')


def run(main, *arguments):
    return main([*map(str, arguments)])


def test_a_score_is_drawn_beside_its_hardest_negatives(
    tiny_config, tiny_videos, tmp_path
):
    clips = tiny_videos / 'videos'
    weights = tmp_path / 'model.pth'
    model = MODELS.build(Config.fromfile(tiny_config).model)
    torch.save(dict(state_dict=model.state_dict()), weights)
    searcher = TextVideoSearcher(tiny_config, weights)
    searcher.index(clips, into=tmp_path / 'index', progress=False)
    plot = tmp_path / 'why.svg'
    run(
        explain.main,
        *(clips / 'video1.mp4', 'a $red$ dog', '--out', plot),
        *('--index', tmp_path / 'index', '--negatives', 2),
    )
    svg = plot.read_text(encoding='utf-8')
    assert 'a $red$ dog' in svg
    assert 'video1.mp4' in svg
    others = [n for n in (0, 2, 3, 4) if f'video{n}.mp4' in svg]
    assert len(others) == 2
    assert 'hatched: masked' in svg
    # Five videos at 10 frames a second, three frames of each.
    assert '2.5 s' in svg


def test_an_untrained_importance_is_not_shown(
    tiny_config, tiny_videos, tmp_path
):
    plot = tmp_path / 'why.svg'
    run(
        explain.main,
        *(tiny_videos / 'videos/video1.mp4', 'a dog', '--out', plot),
        *('--config', tiny_config),
    )
    assert 'masked' not in plot.read_text(encoding='utf-8')


def test_what_to_explain_with_must_be_said(tiny_videos, capsys):
    assert run(explain.main, tiny_videos / 'videos/video1.mp4', 'a dog') == 1
    assert '--config CONFIG --checkpoint' in capsys.readouterr().err
    assert run(explain.main, 'missing.mp4', 'a dog') == 1
    assert 'there is no video' in capsys.readouterr().err


def test_failures_are_written_as_one_page(tiny_config, checkpoint, tmp_path):
    page = tmp_path / 'out/failures.html'
    arguments = [tiny_config, checkpoint, '--out', page]
    arguments = [*arguments, '--count', '2']
    assert run(failures.main, *arguments) == 0
    html = page.read_text(encoding='utf-8')
    # Two of the worst and others, each with all five videos.
    count = html.count('<h2>')
    assert 2 < count <= 8
    assert html.count('<section') == 5 * count
    assert html.count('the true video</strong>') == count
    assert html.count('data:image/jpeg;base64,') == 5 * count * 3
    assert html.count('class="masked"') == 5 * count
    assert html.count('<h2 class="group">Worst') == 1
    assert 'NegNCE counts the first result as a hard negative' in html
    assert 'http' not in html.replace('<!doctype html>', '')


def test_samples_are_drawn_with_their_captions(tiny_config, tmp_path, capsys):
    plot = tmp_path / 'browse.svg'
    arguments = tiny_config, '--samples', 2, '--out', plot
    assert run(browse_dataset.main, *arguments) == 0
    assert plot.read_text(encoding='utf-8').count('<image') == 2
    assert run(browse_dataset.main, *arguments, '--first', 99) == 1
    assert 'there is no sample 99' in capsys.readouterr().err


@pytest.mark.parametrize(
    'name', ['browse_dataset', 'curves', 'explain', 'failures']
)
def test_old_paths_forward_with_a_warning(name):
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, f'tools/analysis/{name}.py', '--help'],
        cwd=root,
        env={**os.environ, 'PYTHONPATH': str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'has moved to tools/visualizations/{name}.py' in done.stderr
    assert '--out' in done.stdout
