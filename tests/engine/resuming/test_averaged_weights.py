"""mmengine's EMAHook beside our loops and checkpoints."""

import pytest
import torch
from mmengine.hooks import Hook

EMA = dict(type='EMAHook', momentum=0.1)


class Watch(Hook):
    """Weights before, during and after each validation."""

    def __init__(self):
        self.seen = []

    def _see(self, runner):
        weights = runner.model.state_dict()['layers.0.weight'].clone()
        self.seen.append(weights)

    def before_val(self, runner):
        self._see(runner)

    def after_val_iter(self, runner, *_, **__):
        if len(self.seen) % 3 == 1:
            self._see(runner)

    def after_val(self, runner):
        self._see(runner)


def averaged(checkpoint):
    return {k: v.tolist() for k, v in checkpoint['ema_state_dict'].items()}


@pytest.mark.parametrize(
    'kill', [dict(iteration=3), dict(iteration=6), dict(validation=1)], ids=str
)
def test_averages_resume_bit_for_bit(train, unbroken, assert_same, kill):
    assert train(kill=kill, custom_hooks=[EMA]) is None
    resumed = train(resume=True, custom_hooks=[EMA])
    whole = unbroken(custom_hooks=[EMA])
    assert_same(resumed, whole)
    assert averaged(resumed) == averaged(whole)


def test_evaluation_and_checkpoint_have_the_averaged_weights(train):
    """The average of momentum 0.1, step by step, in double precision."""
    watch, steps = Watch(), []

    class Steps(Hook):
        # After the optimiser, before the average is swapped in.
        def after_train_iter(self, runner, *_, **__):
            weights = runner.model.state_dict()['layers.0.weight']
            steps.append(weights.double())

    saved = train(custom_hooks=[EMA, watch, Steps()])
    average = steps[0].clone()
    for step in steps[1:]:
        average = 0.9 * average + 0.1 * step
    before, during, after = watch.seen[-3:]
    torch.testing.assert_close(during.double(), average)
    assert torch.equal(before, after)
    assert not torch.equal(before, during)
    assert torch.equal(saved['state_dict']['layers.0.weight'], during)
