import pytest
from mmengine.config import Config

from mmtvr.config import check, load_config
from mmtvr.errors import SetupError


@pytest.fixture(autouse=True)
def components(monkeypatch):
    monkeypatch.setattr(check, 'our_components', dict)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("default_scope = 'mmtvr'\nmodel = dict(width=1)\n")
    return path


def test_options_are_merged_and_the_work_folder_named(config):
    cfg = load_config(str(config), {'model.width': 2})
    assert cfg.model.width == 2
    assert cfg.work_dir == 'work_dirs/mine'
    assert load_config(str(config), work_dir='here').work_dir == 'here'


def test_a_missing_config_is_one_message(tmp_path):
    with pytest.raises(SetupError, match=r'nowhere\.py .*nor a recipe'):
        load_config(str(tmp_path / 'nowhere.py'))


def test_a_missing_base_is_one_message(tmp_path):
    path = tmp_path / 'child.py'
    path.write_text("_base_ = './parent.py'\n")
    with pytest.raises(SetupError, match=r'parent\.py'):
        load_config(str(path))


def test_a_base_is_a_recipe_from_anywhere(config):
    config.write_text("_base_ = ['mmtvr::dmae_own.py']\nseed = 7\n")
    cfg = Config.fromfile(config)
    assert (cfg.model.head.type, cfg.seed) == ('mmtvr.DMAEHead', 7)
    config.write_text("_base_ = 'mmtvr::dmae_onw'\n")
    with pytest.raises(SetupError, match=r'there is mmtvr::dmae_own\.py'):
        load_config(str(config))
    config.write_text("_base_ = 'configs/dmae_own.py'\n")
    with pytest.raises(SetupError, match=r"_base_ = 'mmtvr::dmae_own\.py'"):
        load_config(str(config))


def test_a_base_is_a_config_of_mmaction2(config):
    config.write_text(
        "_base_ = 'mmaction::retrieval/clip4clip/clip4clip_vit-base-p32-"
        "res224-clip-pre_8xb16-u12-5e_msrvtt-9k-rgb.py'\n"
    )
    cfg = load_config(str(config))
    assert (cfg.default_scope, cfg.model.type) == (
        'mmaction',
        'CLIPSimilarity',
    )


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('a = 1\nb = (1\n', r'mine\.py.*line 2: .*never closed'),
        ('a = 1\n\nb = c\n', r"mine\.py.*line 3: NameError: .*'c'"),
    ],
)
def test_a_config_that_cannot_be_run_is_one_message(config, text, said):
    config.write_text(text)
    with pytest.raises(SetupError, match=said):
        load_config(str(config))


def test_an_unknown_option_is_refused(config):
    with pytest.raises(SetupError, match='did you mean `model`'):
        load_config(str(config), {'modle.width': 2})
