"""The config of an index from others is read, not run."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmtvr.config import parse_plain_config
from mmtvr.errors import SetupError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.slow
@pytest.mark.parametrize(
    'path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem
)
def test_what_an_index_holds_of_our_configs_reads_back(path):
    cfg = Config.fromfile(path)
    assert parse_plain_config(cfg.pretty_text, 'x').to_dict() == cfg.to_dict()


@pytest.mark.parametrize('tagger', ['hanta', 'hanta:de', 'spacy:fr_x'])
def test_taggers_by_name_are_read(tagger):
    step = dict(type='mmtvr.TagKeyWords', tagger=tagger)
    config = parse_plain_config(f'step = {step}', 'the index')
    assert config.step == step


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'open({marker!r}, "w")',
        'a = open({marker!r}, "w")',
        'a = [__import__("os").system("touch {marker}")]',
        'a = dict(**open({marker!r}, "w"))',
        'a = {{**{{}}}}',
        'a = (lambda: 0)',
        'a, b = 1, 2',
        'a.b = 1',
        'a = dict(type="subprocess.call", args="touch {marker}", shell=True)',
        'a = [dict(x=dict(type="os.system", command="touch {marker}"))]',
        'a = dict(type="mmtvr.distributed.launch.subprocess.call")',
        'a = dict(type="mmengine.load", file="{marker}")',
        'a = dict(type="antigravity")',
        'a = dict(type="mmtvr.X", _scope_="os")',
        'a = dict(type="mmtvr.TagKeyWords", tagger="spacy:./model")',
        'a = dict(type=3)',
        '[' * 5000,
        'a = ' + '-' * 100_000 + '1',
        'a = "\0"',
    ],
)
def test_anything_else_is_refused_and_not_run(tmp_path, text):
    marker = str(tmp_path / 'marker')
    with pytest.raises(SetupError, match='might run code') as error:
        parse_plain_config(
            text.replace('{marker!r}', repr(marker))
            .replace('{marker}', marker)
            .replace('{{', '{')
            .replace('}}', '}'),
            'the index shapes',
        )
    assert 'the index shapes' in str(error.value)
    assert not (tmp_path / 'marker').exists()
