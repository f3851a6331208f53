"""The blocks that users copy, of the README and of the page on mixing."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmtvr import __version__
from mmtvr.config import check_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
MIXING = (ROOT / 'docs/tutorials/mmaction2.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', MIXING, re.S)


@pytest.mark.parametrize('block', BLOCKS, ids=range(len(BLOCKS)))
def test_config_of_the_page_on_mixing_fits(block, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(block)
    check_config(Config.fromfile(path))


def test_the_page_shows_how_to_mix():
    assert len(BLOCKS) >= 5


def test_each_user_finds_their_page_in_one_click():
    """Of the README and of the first page of the site."""
    pages = ('start', 'tutorials/own_videos', 'tutorials/msrvtt')
    first_page = (ROOT / 'docs/index.md').read_text()
    for page in (*pages, 'tutorials/mmaction2'):
        assert f'(docs/{page}.md)' in README
        assert f'({page}.md)' in first_page


def test_the_version_to_cite_is_that_of_the_package():
    citation = (ROOT / 'CITATION.cff').read_text()
    assert f'\nversion: {__version__}\n' in citation


def test_the_lines_on_a_trained_model_run(tmp_path, monkeypatch):
    """On a folder and a video where the commands before them put both."""
    from mmtvr.apis import Retriever
    from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes

    (block,) = (
        each
        for each in re.findall(r'```pycon\n(.*?)```', README, re.S)
        if 'Retriever' in each
    )
    monkeypatch.chdir(tmp_path)
    ensure_moving_shapes(Path('data/moving_shapes'), 'test', 2, 0)
    config = ROOT / 'configs/clip4clip_moving_shapes.py'
    Retriever.from_config(config).save_pretrained('work_dirs/shapes_model')
    *lines, last = re.findall('^>>> (.*)', block, re.M)
    names = {}
    exec('\n'.join(lines), names)
    assert eval(last, names).shape == (2, 1)
