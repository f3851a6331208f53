import csv
import io
from pathlib import Path

import pytest
from mmengine.config import Config

from mmtvr.cli.recipes import main
from mmtvr.config import find_config, load_config, walk
from mmtvr.config.reading import find_recipes, read_recipes
from mmtvr.errors import SetupError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def test_each_recipe_has_its_facts():
    with_facts = {row['recipe'] for row in read_recipes() if row['data']}
    assert with_facts == {path.stem for path in CONFIGS.glob('*.py')}


@pytest.mark.parametrize(
    'path',
    sorted(CONFIGS.glob('*.py')) + sorted(CONFIGS.glob('ablation/*.py')),
    ids=lambda path: path.stem,
)
def test_test_pipelines_bring_frames_to_one_size(path):
    # An index gets videos of any size, drawn ones are all alike.
    pipeline = Config.fromfile(path).test_dataloader.dataset.pipeline
    assert {'CenterCrop', 'Resize'} <= {
        transform['type'].rpartition('.')[2] for transform in pipeline
    }


@pytest.mark.parametrize(
    'name', ['clip4clip_didemo_vit-b16', 'tpmcl_moving_shapes']
)
def test_facts_are_those_of_the_config(name):
    (facts,) = [row for row in read_recipes() if row['recipe'] == name]
    cfg = Config.fromfile(find_config(name))
    nodes = [node for _, node in walk(cfg.train_dataloader.to_dict())]
    assert facts['encoder'] == cfg.model.frame_encoder.clip
    assert int(facts['batch']) == cfg.train_dataloader.batch_size
    for fact, setting in (('frames', 'num_frames'), ('words', 'max_words')):
        assert [int(facts[fact])] == [
            n[setting] for n in nodes if setting in n
        ]


def test_recipe_is_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load_config('ablation/token-wise_moving_shapes_word')
    assert cfg.model.head.type == 'mmtvr.TokenWiseHead'
    (tmp_path / 'clip4clip_msvd').write_text('')
    assert find_config('clip4clip_msvd') == 'clip4clip_msvd'


def test_unknown_recipe_names_the_closest():
    with pytest.raises(SetupError, match=r'dmae_msrvt .*dmae_msrvtt, '):
        find_config('dmae_msrvt')


def test_list_of_recipes(capsys):
    assert main(['vatex', '--csv']) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row['recipe'] for row in rows] == [
        name for name in find_recipes() if 'vatex' in name
    ]
    assert main(['tpmcl_msvd', '--path']) == 0
    assert capsys.readouterr().out.split()[0] == str(
        find_recipes()['tpmcl_msvd']
    )
    assert main([]) == 0
    assert 'ablation' not in capsys.readouterr().out
    assert main(['nothing']) == 1
