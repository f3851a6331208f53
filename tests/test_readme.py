"""The blocks of the README that users copy."""

import re
from pathlib import Path

import mmaction
import pytest
from mmengine.config import Config

from mmtvr.config import check_config

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(
    r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S
)


@pytest.mark.parametrize('block', BLOCKS, ids=range(len(BLOCKS)))
def test_config_of_the_readme_fits(block, tmp_path):
    path = tmp_path / 'config.py'
    block = block.replace('/path/to/mmaction', mmaction.__path__[0])
    path.write_text(block.replace("'configs/", f"'{ROOT}/configs/"))
    check_config(Config.fromfile(path))


def test_the_readme_shows_how_to_mix():
    assert len(BLOCKS) >= 5


def test_folders_and_files_that_the_readme_names_exist():
    text = (ROOT / 'README.md').read_text()
    links = re.findall(r'\]\((?!http)([^)#]+)\)', text)
    configs = re.findall(r'`(\w+_(?:msrvtt|moving_shapes)\.py)`', text)
    for name in [*links, *(f'configs/{name}' for name in configs)]:
        assert (ROOT / name).exists(), name


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
