import json

import numpy as np
import pytest
import torch

from mmtvr.evaluation.ranking import summarise, text_to_video
from mmtvr.evaluation.rescoring import (
    dual_softmax,
    nnn,
    nnn_bias,
    parse_rescorings,
    qb_norm,
    sinkhorn,
)


@pytest.fixture
def scores():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(6, 5, generator=generator).double() - 0.3


def slow_softmax(values):
    powers = [np.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def test_dual_softmax_ranks_as_the_products_with_the_prior(scores):
    scores[1, 2] = 0.0
    got = dual_softmax(scores, 0.2)
    want = torch.stack(
        [
            scores[:, column]
            * torch.tensor(slow_softmax((scores[:, column] / 0.2).tolist()))
            for column in range(5)
        ],
        dim=1,
    )
    assert (scores < 0).any()
    assert (
        got.flatten().argsort().tolist() == want.flatten().argsort().tolist()
    )
    assert torch.equal(got.sign(), want.sign())


@pytest.mark.shared
@pytest.mark.parametrize(('suffix', 'factor'), [('t1', 1), ('t100', 100)])
def test_dual_softmax_gives_the_known_numbers(shared_dir, suffix, factor):
    known = json.loads((shared_dir / 'sims/oracle.json').read_text())
    known = known[f'cap4video_video+DSL_{suffix}']
    path = shared_dir / 'sims/cap4video_msrvtt_video_matrix.npy'
    table, ids = torch.from_numpy(np.load(path)), torch.arange(1000)
    for name, matrix in (('t2v', table), ('v2t', table.T)):
        rescored = dual_softmax(matrix, 1 / factor)
        report = summarise(
            text_to_video(rescored, ids, ids), ties='optimistic'
        )
        for column, value in known[name].items():
            assert report[column] == pytest.approx(value, abs=1e-9)


def test_sharp_temperature_neither_underflows_nor_ties(scores):
    for rescore in (dual_softmax, sinkhorn):
        got = rescore(scores, 1e-4)
        assert got.isfinite().all()
        assert all(len(row.unique()) == 5 for row in got)


def test_scores_of_zero_are_rescored_to_zero():
    assert not dual_softmax(torch.zeros(2, 3), 0.1).any()


def test_a_hub_loses_its_advantage():
    # Item 0 is close to every query of test and bank.
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.7, 0.1], [0.8, 0.1, 0.7]])
    bank = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.2, 0.1]])
    assert scores.argmax(1).tolist() == [0, 0, 0]
    assert qb_norm(scores, bank, 0.05).argmax(1).tolist()[1:] == [1, 2]


def test_queries_that_meet_no_hub_keep_their_scores(scores):
    bank = scores[:2]
    hubs = set(bank.argmax(1).tolist())
    got = qb_norm(scores, bank, 0.1)
    for row in range(6):
        kept = torch.equal(got[row], scores[row] / 0.1)
        assert kept == (scores[row].argmax().item() not in hubs)


def test_sinkhorn_gives_rows_and_columns_their_share(scores):
    square = scores[:5]
    plan = sinkhorn(square, 0.1, iterations=200).exp()
    torch.testing.assert_close(plan.sum(1), torch.ones(5).double())
    torch.testing.assert_close(plan.sum(0), torch.ones(5).double())


@pytest.mark.parametrize('rescore', [dual_softmax, sinkhorn])
def test_order_of_queries_and_items_does_not_matter(scores, rescore):
    rows, columns = torch.randperm(6), torch.randperm(5)
    shuffled = rescore(scores[rows][:, columns], 0.1)
    torch.testing.assert_close(
        shuffled, rescore(scores, 0.1)[rows][:, columns]
    )


@pytest.mark.parametrize('rescore', [dual_softmax, sinkhorn])
def test_temperature_must_be_positive(scores, rescore):
    with pytest.raises(ValueError, match='temperature must be positive'):
        rescore(scores, 0.0)


def test_bank_of_other_items_is_refused(scores):
    with pytest.raises(ValueError, match='same 5 items'):
        qb_norm(scores, torch.rand(3, 4), 0.1)
    with pytest.raises(ValueError, match='same 5 items'):
        qb_norm(scores, torch.rand(0, 5), 0.1)


def test_sinkhorn_needs_an_iteration(scores):
    with pytest.raises(ValueError, match='iterations'):
        sinkhorn(scores, 0.1, iterations=0)


def test_nnn_subtracts_the_mean_of_the_nearest_reference_queries(scores):
    bank = torch.rand(7, 5).double()
    got = nnn(scores, bank, 0.75, 3)
    for row in range(6):
        for item in range(5):
            nearest = sorted(bank[:, item].tolist())[-3:]
            want = scores[row, item].item() - 0.75 * sum(nearest) / 3
            assert got[row, item].item() == pytest.approx(want)
    # As many as there are.
    torch.testing.assert_close(nnn_bias(bank, 100), bank.mean(0))
    order = torch.randperm(7)
    torch.testing.assert_close(nnn(scores, bank[order], 0.75, 3), got)
    assert torch.equal(nnn(scores, bank, 0.0, 3), scores)


def test_nnn_takes_the_advantage_of_a_hub():
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.8, 0.7, 0.1], [0.8, 0.1, 0.7]])
    bank = torch.tensor([[0.9, 0.1, 0.1], [0.9, 0.2, 0.1]])
    assert nnn(scores, bank, 1.0, 2).argmax(1).tolist()[1:] == [1, 2]


def test_nnn_entries_are_read_and_wrong_ones_refused(scores):
    bank = torch.rand(7, 5).double()
    (entry,) = parse_rescorings(['nnn:0.5:2'], bank)
    assert entry.label == 'nnn, alpha 0.5, 2 neighbors (t2v only)'
    assert not entry.needs_all_queries
    torch.testing.assert_close(
        entry.rescore(scores, 't2v'), nnn(scores, bank, 0.5, 2)
    )
    assert torch.equal(entry.rescore(scores.T, 'v2t'), scores.T)
    for wrong in ('nnn:0.5', 'nnn:a:2', 'nnn:0.5:0', 'nnn:0.5:1.5'):
        with pytest.raises(ValueError, match=r'nnn:ALPHA:K'):
            parse_rescorings([wrong], bank)
    with pytest.raises(ValueError, match='nnn needs a query bank'):
        parse_rescorings(['nnn:0.5:2'])
    with pytest.raises(ValueError, match='neighbors must be positive'):
        nnn_bias(bank, 0)


@pytest.mark.parametrize('entry', ['nnn:0.5:2', 'qb-norm:0.1'])
def test_a_bank_of_the_test_queries_is_refused(scores, entry):
    rescore = parse_rescorings([entry], scores)[0].rescore
    with pytest.raises(ValueError, match='6 of the 6 test texts'):
        rescore(scores, 't2v')
    # A training caption may repeat a test caption.
    mixed = torch.cat([scores[:1], torch.rand(5, 5).double()])
    assert parse_rescorings([entry], mixed)[0].rescore(scores, 't2v').any()
