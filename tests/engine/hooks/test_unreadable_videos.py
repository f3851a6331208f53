"""What could not be read is counted, listed, and stops a run at too many."""

import csv
import logging
from types import SimpleNamespace

import pytest
from mmaction.structures import ActionDataSample
from mmengine.logging import MessageHub

from mmtvr.engine import ResultTableHook, UnreadableVideosHook
from mmtvr.engine.hooks.logging import UNREADABLE
from mmtvr.errors import SetupError


def batch(*unreadable, size=4):
    """A batch whose first samples replace unreadable videos."""
    samples = [ActionDataSample() for _ in range(size)]
    for sample, files in zip(samples, unreadable, strict=False):
        met = [(file, f'{file} is broken') for file in files]
        sample.set_metainfo(dict(unreadable_videos=met))
    return dict(inputs={}, data_samples=samples)


@pytest.fixture
def runner(request, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    return SimpleNamespace(
        message_hub=MessageHub(request.node.name),
        logger=logging.getLogger(request.node.name),
        work_dir=str(tmp_path / 'work'),
        epoch=0,
        cfg=SimpleNamespace(filename=None),
        train_dataloader=SimpleNamespace(dataset=range(768)),
    )


def train(hook, runner, batches):
    hook.before_train_epoch(runner)
    for index, each in enumerate(batches):
        hook.after_train_iter(runner, index, each)
    hook.after_train_epoch(runner)
    runner.epoch += 1


def read_list(runner):
    path = f'{runner.work_dir}/unreadable_videos.csv'
    with open(path, newline='', encoding='utf-8') as file:
        return [tuple(row.values()) for row in csv.DictReader(file)]


def test_each_time_is_counted_over_the_epochs(runner, caplog):
    hook = UnreadableVideosHook(max_share=0.5, interval=2)
    hook.before_train(runner)
    train(hook, runner, [batch(['b', 'a']), batch(), batch(['b'], ['c'])])
    line = caplog.messages[-1]
    assert '4 of 16 samples (25.00%)' in line
    assert '3 files since the beginning' in line
    train(hook, runner, [batch(), batch(['a'])])
    assert 'Epoch 2: 1 of 9 samples (11.11%)' in caplog.messages[-1]
    assert read_list(runner) == [
        ('a', 'a is broken', '2'),
        ('b', 'b is broken', '2'),
        ('c', 'c is broken', '1'),
    ]
    ResultTableHook().after_train(runner)
    assert 'unreadable  3 videos' in caplog.messages[-1]


def test_nothing_unreadable_says_and_writes_nothing(runner, caplog, tmp_path):
    hook = UnreadableVideosHook(max_share=0)
    hook.before_train(runner)
    train(hook, runner, [batch()] * 30)
    assert caplog.messages == []
    assert not (tmp_path / 'work').exists()


def test_a_resumed_run_goes_on_with_the_list(runner):
    hook = UnreadableVideosHook(max_share=0.5)
    hook.before_train(runner)
    train(hook, runner, [batch(['a'])])
    resumed = UnreadableVideosHook(max_share=0.5)
    resumed.before_train(runner)
    train(resumed, runner, [batch(['a', 'b'])])
    rows = [('a', 'a is broken', '2'), ('b', 'b is broken', '1')]
    assert read_list(runner) == rows
    # Another run in the same folder puts the list aside.
    runner.message_hub.update_info(UNREADABLE, {})
    UnreadableVideosHook().before_train(runner)
    with pytest.raises(FileNotFoundError):
        read_list(runner)
    earlier = f'{runner.work_dir}/unreadable_videos.earlier.csv'
    with open(earlier, encoding='utf-8') as file:
        assert file.read().count('broken') == 2


def test_too_many_stop_the_run_at_the_end_of_an_epoch(runner):
    hook = UnreadableVideosHook(max_share=0.1)
    hook.before_train(runner)
    files = [f'{number}.mp4' for number in range(9)]
    train(hook, runner, [batch(files[:1])] + [batch()] * 3)
    with pytest.raises(SetupError) as caught:
        train(hook, runner, [batch(files[:2])] + [batch()] * 3)
    message = str(caught.value)
    assert '2 of 18 samples (11.11%)' in message
    assert 'in epoch 2, more than the 10.00% allowed' in message
    assert 'unreadable_videos.csv:\n  0.mp4: 0.mp4 is broken\n' in message
    assert 'max_share' in message
    with pytest.raises(SetupError, match='and 4 more'):
        train(hook, runner, [batch(files)])


def test_far_too_many_stop_it_at_once(runner):
    hook = UnreadableVideosHook(interval=5)
    hook.before_train(runner)
    done = []

    def many():
        for number in range(1000):
            done.append(number)
            yield batch(['x'])

    with pytest.raises(SetupError, match='5 of 25 samples'):
        train(hook, runner, many())
    assert done[-1] == 4
    # Bad luck is no reason: 2 % of so few samples are met by chance.
    train(hook, runner, [batch(['x'])] + [batch()] * 24)


def test_one_percent_of_many_is_allowed(runner):
    hook = UnreadableVideosHook(interval=1)
    hook.before_train(runner)
    train(hook, runner, ([batch(['x'])] + [batch()] * 24) * 4)
    assert read_list(runner) == [('x', 'x is broken', '4')]


@pytest.mark.parametrize('options', [dict(max_share=2), dict(interval=0)])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match='must be'):
        UnreadableVideosHook(**options)


def test_batches_of_other_collate_functions_pass(runner):
    hook = UnreadableVideosHook(max_share=0)
    hook.before_train(runner)
    train(hook, runner, [[1, 2], dict(inputs=[1, 2]), (1, 2)])
    assert hook.asked == 6


def test_all_processes_stop_for_what_one_met(in_processes, tmp_path):
    def work():
        import torch.distributed as dist

        rank = dist.get_rank()
        hub = MessageHub(f'rank{rank}')
        runner = SimpleNamespace(
            message_hub=hub, work_dir=str(tmp_path), epoch=0
        )
        hook = UnreadableVideosHook(max_share=0.05, interval=2)
        hook.before_train(runner)
        met = [['a'], ['a', 'b']] if rank == 1 else [['a'], []]
        try:
            train(hook, runner, [batch(met[0]), batch(met[1])] * 50)
        except SetupError as error:
            return str(error), hub.get_info(UNREADABLE), hook.asked
        return None

    first, second = in_processes(2, work)
    assert first == second
    message, found, asked = first
    assert message.startswith('12 of 60 samples')
    assert found == {'a': ('a is broken', 9), 'b': ('b is broken', 3)}
    assert asked == 60
    assert (tmp_path / 'unreadable_videos.csv').read_text().count(',3\n') == 1
