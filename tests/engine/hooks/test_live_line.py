import io
import logging
import re
import sys
from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer

from mmtvr.engine.hooks.live_line import live_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(fail=False):
    """Three epochs of two steps that log as mmengine does."""
    logger, hooks = logging.Logger('run'), []
    logger.addHandler(logging.StreamHandler(sys.stdout))
    loss = HistoryBuffer()
    runner = SimpleNamespace(
        logger=logger,
        register_hook=hooks.append,
        message_hub=SimpleNamespace(log_scalars={'train/loss': loss}),
        max_iters=6,
        max_epochs=3,
        iter=0,
        train_dataloader=range(2),
    )

    def call(name, *args):
        for hook in hooks:
            getattr(hook, name)(runner, *args)

    with live_line(runner):
        call('before_train')
        for runner.epoch in range(3):
            call('before_train_epoch')
            for step in range(2):
                loss.update(3.0 - runner.epoch)
                call('after_train_iter', step)
            call('after_train_epoch')
            logger.warning('Epoch(train)  [1][2/2]  lr: 1.0e-03')
            logger.warning('t2v  R@1 50.00')
            if fail:
                raise KeyboardInterrupt
    logger.warning('Training results')


@pytest.fixture
def show(monkeypatch):
    """Function that makes a stream what the user sees."""

    def run(stream):
        # In the test itself: pytest captures each phase anew.
        monkeypatch.setattr('sys.stdout', stream)
        monkeypatch.setattr('sys.stderr', stream)
        return stream

    return run


def test_a_pipe_gets_the_log(show):
    pipe = show(io.StringIO())
    train()
    assert pipe.getvalue().splitlines()[:2] == [
        'Epoch(train)  [1][2/2]  lr: 1.0e-03',
        't2v  R@1 50.00',
    ]


def test_a_terminal_gets_a_live_line_and_short_ones(show):
    screen = show(Terminal())
    train()
    text = screen.getvalue()
    assert re.search(r'\rEpoch 1/3 \|.*\| 0/6 \[', text)
    # What is drawn over is not seen.
    lines = [re.split('\r', line)[-1] for line in text.split('\n')]
    kept = [line for line in lines if line.strip()]
    assert kept == [
        'Epoch 1/3  loss 3.000',
        't2v  R@1 50.00',
        'Epoch 2/3  loss 2.000',
        't2v  R@1 50.00',
        'Epoch 3/3  loss 1.000',
        't2v  R@1 50.00',
        'Training results',
    ]


def test_a_stopped_training_leaves_no_half_line(show):
    screen = show(Terminal())
    with pytest.raises(KeyboardInterrupt):
        train(fail=True)
    assert re.split('[\r\n]', screen.getvalue())[-1].strip() == ''
