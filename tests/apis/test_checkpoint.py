"""Which weights a path or a command line means."""

import os

import pytest

from mmtvr.checkpoints import find_checkpoint
from mmtvr.cli.index import choose_checkpoint
from mmtvr.errors import SetupError


@pytest.fixture
def run_folder(tmp_path):
    """The work folder of a run that was moved, without a best checkpoint."""
    for epoch in (1, 2):
        (tmp_path / f'epoch_{epoch}.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('/once/here/epoch_2.pth\n')
    return tmp_path


def test_a_file_is_taken_as_it_is(run_folder):
    file = run_folder / 'epoch_1.pth'
    assert find_checkpoint(str(file)) == file


def test_the_last_checkpoint_is_found_where_the_run_is_now(run_folder):
    assert find_checkpoint(run_folder) == run_folder / 'epoch_2.pth'


def test_the_newest_best_checkpoint_goes_before_the_last(run_folder):
    for age, name in enumerate(('best_R1_epoch_3.pth', 'best_R1_epoch_1.pth')):
        (run_folder / name).touch()
        os.utime(run_folder / name, (1000 - age, 1000 - age))
    found = find_checkpoint(run_folder)
    assert found == run_folder / 'best_R1_epoch_3.pth'


@pytest.mark.parametrize(
    ('content', 'match'),
    [(None, 'no checkpoint or work folder'), ('', 'holds no checkpoint')],
)
def test_no_checkpoint_is_said_with_what_gets_one(content, match, tmp_path):
    folder = tmp_path / 'run'
    if content is not None:
        folder.mkdir()
        (folder / 'last_checkpoint').write_text('epoch_9.pth')
    with pytest.raises(SetupError, match=match):
        find_checkpoint(folder)


def test_index_takes_what_is_given_else_the_run_of_the_config(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = 'configs/some_model.py'
    assert choose_checkpoint(config, 'none') is None
    assert choose_checkpoint(config, 'there.pth') == 'there.pth'
    with pytest.raises(SetupError, match='neither a config file'):
        choose_checkpoint(config, None)
    (tmp_path / 'configs').mkdir()
    (tmp_path / config).touch()
    with pytest.raises(SetupError, match=r'no work_dirs/some_model.*none'):
        choose_checkpoint(config, None)
    (tmp_path / 'work_dirs/some_model').mkdir(parents=True)
    assert choose_checkpoint(config, None) == 'work_dirs/some_model'
