"""Which checkpoint a training goes on from, and what is kept."""

import shutil
from pathlib import Path

import pytest
import torch

from mmtvr.errors import SetupError


def truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


def empty(path):
    path.write_bytes(b'')


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_text(path):
    path.write_text('no checkpoint')


def replace_by_other_model(path):
    content = torch.load(path, weights_only=True)
    content['state_dict'] = {'other.weight': torch.zeros(2)}
    torch.save(content, path)


def replace_by_weights(path):
    torch.save(torch.load(path, weights_only=True)['state_dict'], path)


@pytest.fixture(scope='module')
def stopped(train_in, tmp_path_factory):
    """Folder of a run that was stopped at iteration 11."""
    folder = tmp_path_factory.mktemp('stopped')
    train_in(folder, kill=dict(iteration=11))
    return folder


@pytest.fixture
def spoiled(stopped, work):
    """A copy of it; its checkpoints are there to be spoiled."""
    shutil.copytree(stopped, work)
    (work / 'last_checkpoint').write_text(str(work / 'iter_10.pth'))
    return work


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (truncate, 'is truncated'),
        (empty, 'is empty'),
        (flip, 'is damaged'),
        (replace_by_text, 'is no checkpoint'),
        (replace_by_other_model, 'is of another model'),
        (replace_by_weights, 'holds weights but not the'),
        (Path.unlink, 'does not exist'),
    ],
)
def test_a_bad_checkpoint_is_named_and_the_one_before_taken(
    train, spoiled, log, spoil, said
):
    last, before = spoiled / 'iter_10.pth', spoiled / 'iter_8.pth'
    spoil(last)
    train(resume=True, kill=dict(iteration=9))
    assert f'{last} {said}' in log()
    assert f'resuming from {before}' in log()


def test_an_empty_pointer_is_no_obstacle(
    train, spoiled, unbroken, assert_same
):
    (spoiled / 'last_checkpoint').write_text('')
    assert_same(train(resume=True), unbroken())


def test_a_training_without_a_good_checkpoint_does_not_start(train, spoiled):
    for path in spoiled.glob('*.pth'):
        truncate(path)
    with pytest.raises(SetupError, match='cannot resume from any') as caught:
        train(resume=True)
    for name in ('iter_10.pth', 'iter_8.pth', 'epoch_1.pth'):
        assert f'{name} is truncated' in str(caught.value)


def test_a_training_without_any_checkpoint_starts(
    train, log, unbroken, assert_same
):
    assert_same(train(resume=True), unbroken())
    assert 'starts from the beginning' in log()


def test_a_bad_checkpoint_that_was_named_is_an_error(train, spoiled):
    bad = spoiled / 'copy.pth'
    shutil.copy(spoiled / 'iter_8.pth', bad)
    truncate(bad)
    with pytest.raises(SetupError, match=r'truncated.*iter_10\.pth'):
        train(resume=str(bad))


def test_a_good_checkpoint_that_was_named_is_taken(
    train, spoiled, unbroken, assert_same
):
    named = train(resume=str(spoiled / 'epoch_1.pth'))
    assert_same(named, unbroken())


def test_half_written_files_are_removed_and_reported(train, spoiled, log):
    (spoiled / 'iter_12.pth.partial').write_bytes(b'PK\x03\x04half')
    train(resume=True)
    assert not list(spoiled.glob('*.partial'))
    assert 'half written: ' in log()
    assert 'iter_12.pth.partial' in log()


def test_checkpoints_are_kept_as_asked(train, spoiled):
    train(resume=True)
    best, *rest = sorted(path.name for path in spoiled.glob('*.pth'))
    assert best.startswith('best_toy_mean_epoch_')
    assert rest == ['epoch_2.pth', 'epoch_3.pth']


def test_every_n_iters_is_not_for_saving_by_iterations(train):
    with pytest.raises(ValueError, match='every_n_iters'):
        train(hook=dict(by_epoch=False))
