import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from mmtvr.engine import ResultTableHook, TrainingStatsHook
from mmtvr.engine.hooks.logging import (
    aligned,
    count_samples,
    metric_rows,
    peak_host_megabytes,
)

BATCH = dict(inputs=dict(), data_samples=[1, 2, 3, 4])


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr('time.perf_counter', lambda: now[0])
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    return now


@pytest.fixture
def runner(request, caplog):
    caplog.set_level(logging.INFO)
    return SimpleNamespace(
        message_hub=MessageHub.get_instance(request.node.name),
        logger=logging.getLogger(request.node.name),
        epoch=0,
        iter=0,
        max_iters=120,
        cfg=SimpleNamespace(filename='my configs/a.py'),
        work_dir='work_dirs/a',
        train_dataloader=SimpleNamespace(dataset=range(768), batch_size=64),
        val_loop=SimpleNamespace(sizes=(310, 300)),
        test_loop=SimpleNamespace(
            dataloader=SimpleNamespace(dataset=range(30))
        ),
        _load_from='best.pth',
    )


def test_samples_per_second_are_those_of_the_last_iterations(runner, clock):
    hook = TrainingStatsHook(window=2)
    hook.before_train_epoch(runner)
    rates = []
    for seconds in (1, 1, 4):
        clock[0] += seconds
        hook.after_train_iter(runner, 0, BATCH)
        rates.append(
            runner.message_hub.get_scalar('train/samples_per_second').current()
        )
    assert rates == pytest.approx([4, 4, 8 / 5])


def test_validation_is_not_counted_as_training_time(runner, clock):
    hook = TrainingStatsHook()
    hook.before_train_epoch(runner)
    clock[0] += 1000
    hook.before_train_epoch(runner)
    clock[0] += 2
    hook.after_train_iter(runner, 0, BATCH)
    rate = runner.message_hub.get_scalar('train/samples_per_second')
    assert rate.current() == pytest.approx(2)


def test_host_memory_is_logged_in_megabytes(runner):
    hook = TrainingStatsHook()
    hook.before_train_epoch(runner)
    hook.after_train_iter(runner, 0, BATCH)
    logged = runner.message_hub.get_scalar('train/host_memory_mb').current()
    assert 50 < logged <= peak_host_megabytes() < 1e5


@pytest.mark.parametrize(
    'batch', [BATCH, dict(inputs=[0] * 4), [dict()] * 4, (1, 2, 3, 4)]
)
def test_samples_are_counted_for_every_collate_function(batch):
    assert count_samples(batch) == 4


def metrics(r1):
    return {
        'retrieval/R1': r1,
        'retrieval/MnR': 3.5,
        'retrieval/v2t_R1': r1 + 1,
        'retrieval/v2t_MnR': 4.5,
        'other/acc': 1.0,
    }


def test_training_table_shows_best_and_last_epoch(runner, caplog, clock):
    hook = ResultTableHook()
    hook.before_train(runner)
    for runner.epoch, r1 in ((1, 30.0), (2, 50.0), (3, 40.0)):
        hook.after_val_epoch(runner, metrics(r1))
    runner.message_hub.update_info('best_ckpt', 'work/best.pth')
    clock[0] += 192
    hook.after_train(runner)
    lines = caplog.messages[-1].splitlines()
    assert lines == [
        'Training results',
        '                                  R1   MnR',
        'text to video, best (epoch 2)  50.00  3.50',
        'text to video, last (epoch 3)  40.00  3.50',
        'video to text, best (epoch 2)  51.00  4.50',
        'video to text, last (epoch 3)  41.00  4.50',
        '',
        'trained on       768 samples',
        'validated on     310 texts, 300 videos',
        'best checkpoint  work/best.pth',
        'next             mmtvr test work_dirs/a',
        'time taken       0:03:12',
    ]


def test_a_run_says_what_it_will_do(runner, caplog):
    runner.iter = 20
    ResultTableHook().before_train(runner)
    for part in ('768 samples', '100 of 120 steps of 64', 'work_dirs/a'):
        assert part in caplog.messages[-1]


def test_a_run_counts_videos_and_captions(runner, caplog):
    class Captioned(list):
        metainfo = dict(counts=dict(videos=2000, captions=6000))

    loader = SimpleNamespace(dataset=Captioned(), batch_size=64)
    runner.train_dataloader = loader
    runner.val_loop.dataloader = runner.test_loop.dataloader
    runner.train_loop = SimpleNamespace(val_interval=5)
    ResultTableHook().before_train(runner)
    assert (
        '2,000 videos with 6,000 captions, 120 of 120' in caplog.messages[-1]
    )
    assert 'validated on 30 samples every 5 epochs' in caplog.messages[-1]


def test_time_and_memory_are_estimated_once_it_runs_steadily(
    runner, caplog, clock
):
    hook = TrainingStatsHook(window=4)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    # The first steps start workers.
    for runner.iter, seconds in enumerate([30.0] * 5 + [0.5] * 25):
        clock[0] += seconds
        hook.after_train_iter(runner, 0, BATCH)
    (said,) = caplog.messages
    assert said.startswith('After 20 steps: about 0:00:50 to go (0.5 s a step')
    assert 'GiB of memory' in said


def test_the_best_epoch_survives_a_resume(runner, caplog):
    ResultTableHook().after_val_epoch(runner, metrics(50.0))
    runner.epoch = 9
    hook = ResultTableHook()
    hook.after_val_epoch(runner, metrics(40.0))
    hook.after_train(runner)
    assert 'best (epoch 0)' in caplog.messages[-1]


def test_training_without_validation_still_has_a_table(runner, caplog):
    ResultTableHook().after_train(runner)
    assert caplog.messages[-1].splitlines() == [
        'Training results',
        'trained on  768 samples',
        'next        mmtvr test work_dirs/a',
        'time taken  0:00:00',
    ]


def test_test_table_names_the_checkpoint(runner, caplog):
    hook = ResultTableHook()
    hook.before_test(runner)
    hook.after_test_epoch(runner, metrics(50.0))
    text = caplog.messages[-1]
    assert 'text to video, test  50.00  3.50' in text
    assert 'tested on   30 samples' in text
    assert 'checkpoint  best.pth' in text


def test_metrics_of_one_direction_make_no_empty_row():
    rows = metric_rows([('test', {'R1': 1.0, 'R5': 2.0})], '')
    assert rows == [
        ['', 'R1', 'R5'],
        ['text to video, test', '1.00', '2.00'],
    ]
    assert aligned(rows).splitlines()[0].endswith('  R1    R5')
