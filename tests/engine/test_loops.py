import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import loops

from mmtvr.engine import (
    ResumableTrainLoop,
    RetrievalTestLoop,
    RetrievalValLoop,
)
from mmtvr.engine import loops as own_loops
from mmtvr.evaluation.ranking import both_directions

SHUFFLED = dict(type='DefaultSampler', shuffle=True)


def test_both_loops_are_mmengine_loops():
    assert issubclass(RetrievalValLoop, loops.ValLoop)
    assert issubclass(RetrievalTestLoop, loops.TestLoop)


def test_loop_reports_what_the_whole_table_gives(
    evaluate, feature_dataset, feature_model, tmp_path
):
    out = tmp_path / 'scores.npz'
    dump = dict(type='mmtvr.SimilarityDump', out_file=str(out))
    metrics = evaluate(size=8, metrics=[dump])
    samples = [feature_dataset(8)[i] for i in range(8)]
    predicted = [
        feature_model(
            dict(words=[s['inputs']['words']], video=[s['inputs']['video']]),
            [s['data_samples']],
        )[0]
        for s in samples
    ]
    rows = [
        torch.cat(
            [
                feature_model.similarity(text.text_features, v.video_features)
                for v in predicted
            ],
            dim=1,
        )
        for text in predicted
    ]
    scores = torch.cat(rows).detach()
    owner = torch.tensor(
        [100 + i for i, row in enumerate(rows) for _ in range(len(row))]
    )
    want = both_directions(scores, owner, 100 + torch.arange(8))
    assert metrics == {f'retrieval/{k}': v for k, v in want.items()}
    assert 20 < metrics['retrieval/R1'] < 100
    assert all(type(value) is float for value in metrics.values())
    with np.load(out, allow_pickle=False) as file:
        np.testing.assert_allclose(file['scores'], scores, atol=1e-6)
        assert file['text_video_ids'].tolist() == owner.tolist()
        assert file['video_ids'].tolist() == list(range(100, 108))
        assert file['texts'][1] == 'caption 0 of 1'
        assert file['videos'][2] == '2.mp4'


@pytest.mark.parametrize('batch_size', [1, 7, 64])
def test_batch_size_changes_nothing(evaluate, batch_size):
    assert evaluate(batch_size=batch_size) == evaluate(batch_size=3)


def test_memory_budget_changes_nothing(evaluate):
    assert evaluate(block_megabytes=1e-4) == evaluate()


def test_the_order_of_the_samples_changes_nothing(evaluate):
    assert evaluate(sampler=SHUFFLED) == evaluate()


@pytest.mark.parametrize(
    ('world_size', 'size', 'sampler'),
    [(2, 8, None), (3, 2, None), (2, 7, SHUFFLED)],
    ids=['shared', 'fewer-samples-than-processes', 'padded-by-the-sampler'],
)
def test_processes_report_the_numbers_of_one(
    evaluate, in_processes, world_size, size, sampler
):
    def work():
        return evaluate(size=size, sampler=sampler)

    results = in_processes(world_size, work)
    assert results == [work()] * world_size


def test_dumped_scores_of_processes_are_in_the_order_of_one(
    evaluate, in_processes, tmp_path
):
    def dump(name):
        out = str(tmp_path / name)
        evaluate(metrics=[dict(type='mmtvr.SimilarityDump', out_file=out)])

    def read(name):
        with np.load(tmp_path / name, allow_pickle=False) as file:
            return {key: file[key].tolist() for key in file.files}

    dump('one.npz')
    in_processes(2, lambda: dump('two.npz'))
    assert read('two.npz') == read('one.npz')


def test_dumped_features_are_evaluated_again_without_the_model(
    evaluate, in_processes, tmp_path, monkeypatch, feature_model
):
    monkeypatch.setattr(
        type(feature_model),
        'similarity',
        lambda self, text, video: text.pooled @ video.pooled.T,
    )

    def run(name):
        return evaluate(feature_file=str(tmp_path / name), sampler=SHUFFLED)

    metrics = run('one.npz')
    in_processes(2, lambda: run('two.npz'))
    with np.load(tmp_path / 'one.npz', allow_pickle=False) as file:
        one = {key: file[key] for key in file.files}
    with np.load(tmp_path / 'two.npz', allow_pickle=False) as file:
        for key, value in one.items():
            np.testing.assert_array_equal(file[key], value)
    scores = torch.from_numpy(one['text'] @ one['video'].T)
    ids = [
        torch.from_numpy(one[key]) for key in ('text_video_ids', 'video_ids')
    ]
    want = both_directions(scores, *ids)
    assert metrics == {f'retrieval/{k}': v for k, v in want.items()}
    assert one['texts'][1] == 'caption 0 of 1'


def test_file_of_features_must_be_an_npz(evaluate):
    with pytest.raises(ValueError, match='npz'):
        evaluate(feature_file='features.pkl')


def test_scores_that_are_not_finite_are_an_error(
    evaluate, feature_model, monkeypatch
):
    def broken(self, text, video):
        return torch.full((len(text.mask), len(video.mask)), float('nan'))

    monkeypatch.setattr(type(feature_model), 'similarity', broken)
    with pytest.raises(ValueError, match='row 0, column 0'):
        evaluate()


def test_cut_captions_are_counted_in_the_log(evaluate, monkeypatch):
    messages = []

    class Listener(Hook):
        def before_test(self, runner):
            monkeypatch.setattr(runner.logger, 'info', messages.append)

    evaluate(size=8, sampler=SHUFFLED, hooks=[Listener()])
    (message,) = [text for text in messages if 'cut' in text]
    assert message.startswith('1 of 15 captions were longer')


def test_hooks_are_called_as_by_mmengines_loop(evaluate):
    calls = []

    class Recorder(Hook):
        def before_test(self, runner):
            calls.append('before')

        def after_test_iter(self, runner, batch_idx, data_batch, outputs):
            calls.append((batch_idx, len(outputs)))

        def after_test_epoch(self, runner, metrics):
            calls.append('retrieval/R1' in metrics)

        def after_test(self, runner):
            calls.append('after')

    evaluate(size=5, batch_size=3, hooks=[Recorder()])
    assert calls == ['before', (0, 3), (1, 2), True, 'after']


def test_progress_is_logged_with_the_time_left(monkeypatch):
    lines, now = [], [100.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    monkeypatch.setattr(
        own_loops, 'print_log', lambda text, logger: lines.append(text)
    )
    bar = own_loops.Progress('scored texts', 100, interval=10)
    for _ in range(10):
        now[0] += 4
        bar.advance(10)
    assert lines == [
        'scored texts: 30 of 100, 28 s left',
        'scored texts: 60 of 100, 16 s left',
        'scored texts: 90 of 100, 4 s left',
    ]


def test_ranks_draw_differently_and_a_step_always_the_same(monkeypatch):
    draws = []

    def run_iter(*_):
        draws.append(
            (random.random(), np.random.rand(), torch.rand(()).item())
        )

    monkeypatch.setattr(loops.EpochBasedTrainLoop, 'run_iter', run_iter)
    loop = object.__new__(ResumableTrainLoop)
    for rank, iteration in ((0, 3), (1, 3), (2, 3), (0, 4), (1, 3)):
        monkeypatch.setattr(own_loops, 'get_rank', lambda rank=rank: rank)
        loop._seed, loop._iter = 0, iteration
        loop.run_iter(0, None)
    assert draws[1] == draws[4]
    for column in zip(*draws[:4], strict=True):
        assert len(set(column)) == 4
