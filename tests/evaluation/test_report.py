import json

import numpy as np
import pytest
import torch

from mmtvr.evaluation.protocols import (
    PROTOCOLS,
    describe_misfit,
    find_protocol,
)
from mmtvr.evaluation.ranking import both_directions
from mmtvr.evaluation.report import (
    Rescoring,
    Table,
    build_report,
    orient,
    plot_ranks,
    to_text,
)
from mmtvr.evaluation.rescoring import dual_softmax

DSL = Rescoring(
    'DSL', lambda scores, direction: dual_softmax(scores, 0.1), True
)


@pytest.fixture
def table():
    """Twelve texts of five videos with ids of their own, and some ties."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.tensor([40, 10, 10, 30, 20, 20, 20, 30, 40, 40, 0, 10])
    ids = torch.tensor([0, 10, 20, 30, 40])
    noise = torch.randint(0, 6, (12, 5), generator=generator).float()
    return Table(noise + 2 * (owner[:, None] == ids), owner, ids)


def test_raw_row_holds_what_the_metric_reports(table):
    report = build_report(table)
    want = both_directions(*table)
    (row,) = report.rows
    assert (row.label, row.needs_all_queries) == ('raw', False)
    for name in ('R1', 'R5', 'R10', 'MdR', 'MnR'):
        assert row.t2v.measures[name] == want[name]
        assert row.v2t.measures[name] == want[f'v2t_{name}']
    assert row.RSum == pytest.approx(
        sum(want[f'{d}R{k}'] for d in ('', 'v2t_') for k in (1, 5, 10))
    )
    assert (row.t2v.queries, row.t2v.items) == (12, 5)
    assert (row.v2t.queries, row.v2t.items) == (5, 5)


def test_video_to_text_precision_looks_at_all_captions(table):
    report = build_report(table).rows[0].v2t
    perfect = table._replace(
        scores=(table.text_video_ids[:, None] == table.video_ids).float()
    )
    assert build_report(perfect).rows[0].v2t.measures['mAP'] == 100
    # Raising the best caption of a video leaves its rank, not its precision.
    low = perfect.scores.clone()
    low[0, 4] = -1.0
    dropped = build_report(perfect._replace(scores=low)).rows[0].v2t
    assert dropped.measures['R1'] == 100
    assert dropped.measures['mAP'] < 100
    assert 0 < report.measures['NDCG10'] <= 100


def test_ties_are_reported_under_all_policies_where_they_differ(table):
    tied = build_report(table).rows[0].t2v
    assert tied.tie_share > 0
    assert set(tied.policies) == {'optimistic', 'pessimistic', 'expected'}
    ranks = [tied.policies[p]['MnR'] for p in tied.policies]
    assert ranks[0] < ranks[2] < ranks[1]
    noise = torch.rand(12, 5).double() * 1e-3
    untied = build_report(table._replace(scores=table.scores + noise))
    assert not untied.rows[0].t2v.policies
    assert untied.rows[0].t2v.tie_share == 0


def test_intervals_hold_their_values(table):
    for direction in (build_report(table).rows[0].t2v,):
        assert set(direction.intervals) == set(direction.measures)
        for name, value in direction.measures.items():
            low, high = direction.intervals[name]
            assert low <= value <= high


def test_rescorings_follow_the_raw_row_and_say_what_they_need(table):
    report = build_report(table, [DSL])
    assert [row.label for row in report.rows] == ['raw', 'DSL']
    assert report.rows[1].needs_all_queries
    text = to_text(report)
    assert text.index('raw ') < text.index('DSL ')
    assert 'needs all test queries at once: yes' in text
    want = dual_softmax(orient(table, 'v2t')[0], 0.1)
    ids = table.video_ids
    assert report.rows[1].v2t.measures['R1'] == pytest.approx(
        both_directions(want, ids, ids)['R1']
    )


def test_order_of_texts_and_videos_changes_no_number(table):
    rows, columns = torch.randperm(12), torch.randperm(5)
    shuffled = Table(
        table.scores[rows][:, columns],
        table.text_video_ids[rows],
        table.video_ids[columns],
    )
    first, second = (build_report(t).rows[0] for t in (table, shuffled))
    for direction in ('t2v', 'v2t'):
        one, other = (getattr(row, direction) for row in (first, second))
        assert one.measures == other.measures
        assert one.policies == other.policies


def test_a_report_is_plain_json(table):
    report = build_report(table, [DSL], about={'decoder': 'decord'})
    read = json.loads(json.dumps(report.as_dict()))
    assert read['about'] == {'decoder': 'decord'}
    assert (
        read['rows'][0]['t2v']['measures']['R1']
        == (report.rows[0].t2v.measures['R1'])
    )


def test_ranks_are_plotted(tmp_path):
    ranks = {'t2v': torch.rand(50).double() * 40 + 1, 'v2t': torch.ones(50)}
    # A formula that matplotlib could not read.
    plot_ranks(tmp_path / 'ranks.png', ranks, r'title $\frac{$ a_$b.npy')
    assert (tmp_path / 'ranks.png').read_bytes().startswith(b'\x89PNG')


def test_direction_must_be_one_of_two(table):
    with pytest.raises(ValueError, match='t2v or v2t'):
        orient(table, 'both')


def test_protocols_know_their_sizes():
    protocol = find_protocol('msrvtt/1k-A')
    assert describe_misfit(protocol, 1000, 1000) is None
    assert '1,000 texts' in describe_misfit(protocol, 999, 1000)
    assert describe_misfit(find_protocol('msvd/all-captions'), 27763, 670) is (
        None
    )
    with pytest.raises(ValueError, match='msrvtt/1k-A'):
        find_protocol('msrvtt')
    assert all(name == each.name for name, each in PROTOCOLS.items())


@pytest.mark.shared
@pytest.mark.parametrize(
    ('dataset', 'split', 'name', 'paragraph'),
    [
        ('msrvtt', 'test_JSFUSION', 'msrvtt/1k-A', False),
        ('msrvtt', 'test_full', 'msrvtt/full', False),
        ('msvd', 'test', 'msvd/all-captions', False),
        ('didemo', 'test', 'didemo/paragraph', True),
        ('activitynet', 'val_1', 'activitynet/paragraph-val_1', True),
    ],
)
def test_protocols_equal_the_original_files(
    shared_dir, dataset, split, name, paragraph
):
    from mmtvr.datasets.annotations import best_strict_recall, clean_captions
    from mmtvr.datasets.preparation import READERS

    videos = READERS[dataset](shared_dir / 'annotations' / dataset)[split]
    videos, _ = clean_captions(videos)
    if paragraph:
        videos = [video.as_paragraph() for video in videos]
    protocol = find_protocol(name)
    assert protocol.videos == len(videos)
    assert protocol.texts == sum(len(video.captions) for video in videos)
    assert protocol.ceiling == pytest.approx(
        best_strict_recall(videos), abs=0.005
    )


@pytest.mark.shared
def test_real_matrix_is_reported_as_known(shared_dir):
    known = json.loads((shared_dir / 'sims/oracle.json').read_text())
    path = shared_dir / 'sims/cap4video_msrvtt_video_matrix.npy'
    ids = torch.arange(1000)
    row = build_report(Table(torch.from_numpy(np.load(path)), ids, ids)).rows[
        0
    ]
    for direction in ('t2v', 'v2t'):
        found = getattr(row, direction)
        policies = found.policies or {
            name: found.measures for name in ('optimistic', 'pessimistic')
        }
        for suffix, policy in (
            ('', 'optimistic'),
            (' [ties=pessimistic]', 'pessimistic'),
        ):
            want = known[f'cap4video_video{suffix}'][direction]
            for name, value in want.items():
                assert policies[policy][name] == pytest.approx(value)
    assert row.v2t.tie_share == 0.009
