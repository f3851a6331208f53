"""The blocks of the README that users copy."""

import re
from pathlib import Path

import mmaction
import pytest
from mmengine.config import Config

from mmtvr.config import check_config

ROOT = Path(__file__).resolve().parents[1]
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
