from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.optim.scheduler import CosineAnnealingLR, LinearLR
from mmengine.registry import init_default_scope

from mmtvr.config import load_config
from mmtvr.engine import WarmupCosineLR
from mmtvr.errors import SetupError
from mmtvr.registry import PARAM_SCHEDULERS

FOLDER = Path(__file__).parents[2] / 'configs'
SCHEDULES = sorted((FOLDER / '_base_/schedules').glob('*.py'))


def make_optimizer(rates=(1e-3, 1e-6)):
    groups = [dict(params=[torch.ones(1)], lr=rate) for rate in rates]
    return OptimWrapper(torch.optim.SGD(groups, lr=1.0))


def rates_of(optimizer, schedulers, steps):
    rates = []
    for _ in range(steps):
        rates.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return torch.tensor(rates, dtype=torch.float64)


def build(optimizer, epochs, epoch_length, **changes):
    config = dict(
        type='mmtvr.WarmupCosineLR', end=epochs, convert_to_iter_based=True
    )
    arguments = dict(optimizer=optimizer, epoch_length=epoch_length)
    return PARAM_SCHEDULERS.build(
        {**config, **changes}, default_args=arguments
    )


@pytest.mark.parametrize(('epochs', 'length'), [(10, 31), (4, 31), (2, 11)])
def test_rates_are_those_of_the_two_schedulers_of_mmengine(epochs, length):
    ours, theirs = make_optimizer(), make_optimizer()
    total, warmup = epochs * length, int(0.1 * epochs * length)
    two = [
        LinearLR(theirs, start_factor=0.01, end=warmup, by_epoch=False),
        CosineAnnealingLR(theirs, begin=warmup, end=total, by_epoch=False),
    ]
    torch.testing.assert_close(
        rates_of(ours, [build(ours, epochs, length)], total),
        rates_of(theirs, two, total),
        rtol=1e-9,
        atol=1e-15,
    )


def test_a_run_of_few_steps_begins_at_the_full_rate():
    optimizer = make_optimizer([1.0])
    rates = rates_of(optimizer, [build(optimizer, 1, 7)], 7)
    assert rates[0] == 1.0
    assert 0 < rates[-1] < 0.1


def test_a_run_ends_near_zero_and_rises_for_its_share():
    optimizer = make_optimizer([1.0])
    rates = rates_of(optimizer, [build(optimizer, 4, 5, warmup=0.25)], 20)
    assert rates.argmax() == 4
    assert rates[0] == 0.01
    assert rates[4] == 1.0
    assert 0 < rates[-1] < 0.02


def test_a_resumed_schedule_goes_on(tmp_path):
    whole = make_optimizer()
    expected = rates_of(whole, [build(whole, 4, 5)], 20)
    first = make_optimizer()
    scheduler = build(first, 4, 5)
    rates_of(first, [scheduler], 7)
    second = make_optimizer()
    resumed = build(second, 4, 5)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    torch.testing.assert_close(
        rates_of(second, [resumed], 13), expected[7:], rtol=0, atol=0
    )


def test_state_of_another_scheduler_is_refused():
    optimizer = make_optimizer()
    other = LinearLR(make_optimizer(), end=3, by_epoch=False)
    with pytest.raises(SetupError, match=r'mmtvr\.WarmupCosineLR'):
        build(optimizer, 2, 5).load_state_dict(other.state_dict())


@pytest.mark.parametrize('path', SCHEDULES, ids=lambda path: path.stem)
def test_recipes_say_their_length_in_one_place(path):
    config = Config.fromfile(path)
    schedules = config.param_scheduler
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        assert not {'begin', 'end', 'T_max'} & {*schedule}


def test_option_of_the_help_text_shortens_the_schedule():
    name = FOLDER / 'tpmcl_moving_shapes.py'
    config = load_config(str(name), {'train_cfg.max_epochs': 3})
    init_default_scope('mmtvr')
    optimizer = make_optimizer([1.0])
    # What mmengine's runner does: the end is the length of the train loop.
    schedule = {**config.param_scheduler, 'end': config.train_cfg.max_epochs}
    scheduler = build(optimizer, 3, 20, **schedule)
    assert isinstance(scheduler, WarmupCosineLR)
    rates = rates_of(optimizer, [scheduler], 60)
    assert rates[-1] < 0.01
    assert rates.argmax() == 5


@pytest.mark.parametrize(
    ('setting', 'message'),
    [
        (dict(warmup=1.0), r'warmup.*1\.0'),
        (dict(start_factor=0.0), r'start_factor.*0\.0'),
    ],
)
def test_values_out_of_range_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        build(make_optimizer(), 2, 2, **setting)
