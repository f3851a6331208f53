"""A NaN never reaches the weights; AMP's skipped steps are no NaN."""

import functools
import json
import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, LinearLR, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import distributed as dist

from mmtvr.engine import NonFiniteHook
from mmtvr.errors import NonFiniteError, SetupError


class Product(BaseModel):
    """The loss is weight times the number of the sample."""

    def __init__(self):
        super().__init__()
        self.good = torch.nn.Linear(1, 1, bias=False)
        self.bad = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.ones_(self.good.weight)
        torch.nn.init.ones_(self.bad.weight)

    def forward(self, inputs, data_samples=None, mode='loss'):
        x = torch.stack(inputs)
        return dict(
            loss_good=self.good(torch.ones_like(x)).mean(),
            loss_bad=[self.bad(x).mean()],
            logged=torch.tensor(float('nan')),
        )


class RootAtZero(Product):
    """A finite loss whose gradient is infinite."""

    def forward(self, inputs, data_samples=None, mode='loss'):
        losses = super().forward([torch.ones(1)])
        root = (self.bad.weight - 1).abs().sqrt().sum()
        return dict(loss_good=losses['loss_good'], loss_bad=root)


def batch(value, name='a.mp4'):
    sample = ActionDataSample()
    sample.set_metainfo(dict(filename=name, video_id=3, text=['a dög']))
    inputs = [torch.tensor([float(value)])]
    return dict(inputs=inputs, data_samples=[sample])


@pytest.fixture
def train(tmp_path, request):
    """Train on numbers; returns model, runner and what a run raised."""

    def run(values, model=None, wrapper=None, **hook):
        model = model or Product()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        wrapper = wrapper or OptimWrapper
        runner = SimpleNamespace(
            model=model,
            optim_wrapper=wrapper(optimizer=optimizer),
            work_dir=str(tmp_path),
            iter=0,
            epoch=0,
            logger=logging.getLogger(request.node.name),
            message_hub=MessageHub.get_instance(request.node.name),
        )
        hook = NonFiniteHook(**hook)
        hook.before_train(runner)
        model.train()
        runner.failed = None
        for value in values:
            data = batch(value, f'{value}.mp4')
            hook.before_train_iter(runner, runner.iter, data)
            try:
                model.train_step(data, runner.optim_wrapper)
            except NonFiniteError as error:
                runner.failed = str(error)
                break
            runner.iter += 1
        return runner

    return run


def weights(runner):
    return [p.item() for p in runner.model.parameters()]


NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('value', [NAN, INF])
@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
def test_a_bad_loss_stops_the_run_before_the_weights(
    train, tmp_path, value, clip
):
    wrapper = functools.partial(OptimWrapper, clip_grad=clip)
    runner = train([value, 1], wrapper=wrapper)
    assert weights(runner) == [1, 1]
    path = tmp_path / 'nonfinite/iter_1.json'
    assert str(path) in runner.failed
    assert f'loss_bad.0 is {value} on process 0' in runner.failed
    assert "on_nonfinite='skip'" in runner.failed
    record = json.loads(path.read_text(encoding='utf-8'))
    (process,) = record['processes']
    (first,) = process['batches']
    assert first['terms']['loss_bad.0'] == str(value)
    assert first['terms']['loss_good'] == 1
    assert first['samples'] == [
        dict(filename=f'{value}.mp4', video_id=3, text=['a dög'])
    ]
    assert record['iteration'] == 1
    assert record['gradients']['not_finite'] == ['bad.weight']
    assert record['gradients']['norms']['good.weight'] == 1
    assert record['gradients']['weights_not_finite'] == []


def test_a_value_that_is_only_logged_may_be_nan(train):
    assert train([1, 1]).failed is None


def test_an_infinite_gradient_of_a_finite_loss_stops_too(train):
    runner = train([1], model=RootAtZero())
    assert 'the norm of the gradients is not finite' in runner.failed
    assert weights(runner) == [1, 1]


def test_bad_steps_are_skipped_and_counted(train, caplog):
    runner = train([1, NAN, INF, 1], on_nonfinite='skip')
    assert runner.failed is None
    assert weights(runner) == pytest.approx(weights(train([1, 1])))
    assert 'step skipped (2 so far)' in caplog.text
    skipped = runner.message_hub.get_scalar('train/skipped_steps')
    assert skipped.current() == 2


def test_too_many_in_a_row_stop_all_the_same(train):
    runner = train([NAN, 1, NAN, NAN, NAN], on_nonfinite='skip', max_skips=3)
    assert runner.iter == 4
    assert 'the 3th in a row' in runner.failed


def test_accumulated_batches_are_all_written_down(train, tmp_path):
    wrapper = functools.partial(OptimWrapper, accumulative_counts=2)
    runner = train([NAN, 1], wrapper=wrapper)
    assert runner.iter == 1
    record = json.loads((tmp_path / 'nonfinite/iter_2.json').read_text())
    batches = record['processes'][0]['batches']
    names = [each['samples'][0]['filename'] for each in batches]
    assert names == ['nan.mp4', '1.mp4']
    assert weights(runner) == [1, 1]


@pytest.fixture
def amp_on_cpu(monkeypatch):
    """mmengine's mixed precision with PyTorch's loss scaler for the CPU."""
    scaler = functools.partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', scaler)
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )

    def build(optimizer, **scale):
        return AmpOptimWrapper(loss_scale=scale, optimizer=optimizer)

    return build


def overflowing(amp, init_scale):
    return functools.partial(amp, init_scale=init_scale)


def test_first_overflows_of_mixed_precision_are_left_to_the_scaler(
    train, amp_on_cpu
):
    wrapper = overflowing(amp_on_cpu, 2.0**127)
    runner = train([4, 4, 4, 1], wrapper=wrapper)
    assert runner.failed is None
    assert runner.optim_wrapper.loss_scaler.get_scale() < 2.0**127
    assert weights(runner)[0] < 1


def test_a_nan_loss_in_mixed_precision_is_no_overflow(train, amp_on_cpu):
    runner = train([NAN], wrapper=overflowing(amp_on_cpu, 2.0**10))
    assert 'loss_bad.0 is nan' in runner.failed
    assert runner.optim_wrapper.loss_scaler.get_scale() == 2.0**10


def test_a_scale_that_falls_below_its_limit_stops(train, amp_on_cpu):
    runner = train(
        [1] * 9, RootAtZero(), overflowing(amp_on_cpu, 8.0), min_loss_scale=1.0
    )
    assert runner.iter == 3
    assert 'fell to 0.5' in runner.failed
    assert weights(runner) == [1, 1]


@pytest.mark.parametrize(
    'wrong', [dict(on_nonfinite='ignore'), dict(max_skips=0)]
)
def test_wrong_options_are_named(wrong):
    with pytest.raises(SetupError, match=next(iter(wrong))):
        NonFiniteHook(**wrong)


def test_processes_stop_together_and_name_the_one(train, in_processes):
    def work():
        runner = train([NAN if dist.get_rank() else 1])
        return runner.failed, weights(runner)

    for failed, after in in_processes(2, work):
        assert 'loss_bad.0 is nan on process 1' in failed
        assert 'process 0' not in failed
        assert after == [1, 1]


def test_schedulers_still_see_the_steps(train):
    schedulers = []

    def wrapper(optimizer):
        made = OptimWrapper(optimizer=optimizer)
        schedulers.append(LinearLR(made, start_factor=0.5, end=2))
        return made

    train([1], wrapper=wrapper)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        schedulers[0].step()
