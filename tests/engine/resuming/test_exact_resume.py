"""A training that was stopped ends as one that was not, bit for bit."""

import pytest
import torch

from mmtvr.engine.checkpointing import STATE


@pytest.mark.parametrize(
    'kill',
    [
        dict(iteration=1),
        dict(iteration=3),
        dict(iteration=6),
        dict(iteration=11),
        dict(validation=1),
        dict(validation=3),
    ],
    ids=str,
)
def test_a_stopped_training_ends_like_an_unbroken_one(
    train, unbroken, assert_same, kill
):
    assert train(kill=kill) is None
    assert_same(train(resume=True), unbroken())


def test_many_stops_change_nothing(train, unbroken, assert_same):
    for iteration in (2, 5, 8, 11, 14, 17):
        assert train(kill=dict(iteration=iteration), resume=True) is None
    assert_same(train(resume=True), unbroken())


@pytest.mark.parametrize(
    'loader',
    [
        dict(num_workers=1),
        pytest.param(
            dict(num_workers=2, persistent_workers=True, prefetch_factor=4),
            marks=pytest.mark.slow,
        ),
    ],
    ids=['1', '2'],
)
def test_the_number_of_workers_changes_nothing(
    train, unbroken, assert_same, loader
):
    assert train(kill=dict(iteration=9), **loader) is None
    assert_same(train(resume=True, **loader), unbroken())


@pytest.mark.slow
@pytest.mark.parametrize(
    'loader',
    [
        dict(drop_last=True),
        dict(sampler=dict(type='DefaultSampler', shuffle=False)),
        dict(
            batch_sampler=dict(
                type=torch.utils.data.BatchSampler, drop_last=True
            )
        ),
        dict(accumulate=3),
    ],
    ids=['drop_last', 'in_order', 'batch_sampler', 'accumulate'],
)
def test_other_batches_go_on_too(train, unbroken, assert_same, loader):
    assert train(kill=dict(iteration=9), **loader) is None
    assert_same(train(resume=True, **loader), unbroken(**loader))


def test_batches_before_the_stop_are_not_loaded_again(train, tmp_path):
    train(kill=dict(iteration=10))
    loaded = tmp_path / 'loaded.txt'
    train(resume=True, loaded=loaded)
    # 2 of 6 batches of the second epoch, all of the third.
    assert len(loaded.read_text().split()) == (23 - 4 * 4) + 23


def test_another_batch_size_begins_the_epoch_anew(train, tmp_path, log):
    train(kill=dict(iteration=10))
    loaded = tmp_path / 'loaded.txt'
    train(resume=True, batch_size=5, loaded=loaded)
    assert len(loaded.read_text().split()) == 2 * 23
    assert 'the epoch is restarted' in log()


def test_the_place_in_training_is_in_the_checkpoint(train, work):
    train(kill=dict(iteration=10))
    state = torch.load(work / 'iter_10.pth', weights_only=True)[STATE]
    assert state['seed'] == state['sampler_seed'] == 3
    assert state['batches_done'] == 4
    assert state['gradients'] == {}


@pytest.mark.parametrize('iteration', [3, 5])
def test_two_processes_go_on_as_if_unbroken(
    train_in, train, in_processes, all_but_clocks, tmp_path, iteration
):
    def whole():
        return all_but_clocks(train_in(tmp_path / 'whole', size=21))

    def stopped():
        train(kill=dict(iteration=iteration), size=21)

    def resumed():
        return all_but_clocks(train(resume=True, size=21))

    (expected, _), _, (found, _) = (
        in_processes(2, work) for work in (whole, stopped, resumed)
    )
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    'kill', [dict(validation=1), dict(iteration=10)], ids=str
)
def test_schedules_are_those_of_the_new_layout(train, unbroken, log, kill):
    assert train(kill=kill) is None
    resumed = train(resume=True, batch_size=12)
    whole = unbroken(batch_size=12)
    # 6 batches an epoch before, 2 now.
    assert resumed['meta']['iter'] == whole['meta']['iter'] == 6
    assert str(resumed['param_schedulers']) == str(whole['param_schedulers'])
    for one, other in zip(
        resumed['optimizer']['param_groups'],
        whole['optimizer']['param_groups'],
        strict=True,
    ):
        assert one['lr'] == other['lr']
    assert "'batches': 6" in log()
    assert "'batches': 2" in log()
