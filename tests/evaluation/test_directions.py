import json

import numpy as np
import pytest
import torch

from mmtvr.evaluation.ranking import (
    best_of_groups,
    both_directions,
    ranks,
    summarise,
    video_to_text,
)

COLUMNS = ('R1', 'R5', 'R10', 'MdR', 'MnR')
IDS = torch.arange(1000)


@pytest.fixture(scope='module')
def sims(shared_dir):
    video = np.load(shared_dir / 'sims/cap4video_msrvtt_video_matrix.npy')
    titles = np.load(shared_dir / 'sims/cap4video_msrvtt_titles_matrix.npy')
    return {
        'cap4video_video': torch.from_numpy(video),
        'cap4video_titles': torch.from_numpy(titles),
        'cap4video_fusion_0.73_0.27': torch.from_numpy(
            0.73 * video + 0.27 * titles
        ),
    }


@pytest.fixture(scope='module')
def oracle(shared_dir):
    return json.loads((shared_dir / 'sims/oracle.json').read_text())


NAMES = ('cap4video_video', 'cap4video_titles', 'cap4video_fusion_0.73_0.27')


@pytest.mark.shared
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize(
    ('ties', 'suffix'),
    [('optimistic', ''), ('pessimistic', ' [ties=pessimistic]')],
)
def test_real_matrices_give_the_known_numbers(
    sims, oracle, name, ties, suffix
):
    got = both_directions(sims[name], IDS, IDS, ties=ties)
    known = oracle[name + suffix]
    for column in COLUMNS:
        assert got[column] == pytest.approx(known['t2v'][column], abs=1e-9)
        assert got[f'v2t_{column}'] == pytest.approx(
            known['v2t'][column], abs=1e-9
        )


@pytest.mark.shared
@pytest.mark.parametrize('name', NAMES)
def test_real_matrices_give_the_known_averaged_ranks(sims, oracle, name):
    """The oracle's averaged rule counts a two-way tie at rank 1.5 as R@1."""
    known = oracle[f'{name} [ties=average]']
    for direction, matrix in (('t2v', sims[name]), ('v2t', sims[name].T)):
        placement = video_to_text(matrix.T, IDS, IDS)
        position = ranks(placement, 'expected')
        got = summarise(placement)
        assert got['MnR'] == pytest.approx(known[direction]['MnR'], abs=1e-9)
        assert got['MdR'] == known[direction]['MdR']
        for k in (1, 5, 10):
            share = 100 * (position < k + 1).double().mean().item()
            assert share == pytest.approx(known[direction][f'R{k}'])
            low = summarise(placement, ties='pessimistic')[f'R{k}']
            high = summarise(placement, ties='optimistic')[f'R{k}']
            assert low <= got[f'R{k}'] <= high


@pytest.mark.shared
def test_msvd_captions_give_the_known_numbers(shared_dir):
    """Scores drawn as data.md section 3 says, over MSVD's validation set."""
    folder = shared_dir / 'annotations/msvd'
    captions = json.loads((folder / 'captions_msvd.json').read_text())
    videos = (folder / 'val_list.txt').read_text().split()
    owner = torch.tensor(
        [i for i, name in enumerate(videos) for _ in captions[name]]
    )
    noise = np.random.RandomState(0).randn(len(owner), len(videos))
    scores = torch.from_numpy(noise.astype(np.float32))
    scores += 2.5 * (owner[:, None] == torch.arange(len(videos)))
    known = json.loads(
        (shared_dir / 'sims/multi_caption_oracle.json').read_text()
    )['msvd_val']
    got = both_directions(scores, owner, torch.arange(len(videos)))
    for column in COLUMNS:
        assert got[column] == pytest.approx(known['t2v'][column])
        assert got[f'v2t_{column}'] == pytest.approx(
            known['v2t_group_max'][column]
        )


def test_shuffled_texts_and_videos_change_no_digit():
    generator = torch.Generator().manual_seed(0)
    owner = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4])
    scores = torch.randint(0, 4, (8, 5), generator=generator).float()
    want = both_directions(scores, owner, torch.arange(5))
    rows = torch.randperm(8, generator=generator)
    columns = torch.randperm(5, generator=generator)
    got = both_directions(scores[rows][:, columns], owner[rows], columns)
    assert got == want


def test_perfect_scores_of_interleaved_captions_are_perfect_both_ways():
    owner = torch.tensor([2, 0, 1, 0, 2, 1, 1])
    scores = (owner[:, None] == torch.arange(3)).float()
    report = both_directions(scores, owner, torch.arange(3))
    assert report['R1'] == report['v2t_R1'] == 100


def test_a_video_is_scored_by_its_best_caption():
    scores = torch.tensor([[0.1, 0.5], [0.9, 0.2], [0.3, 0.4]])
    best, groups = best_of_groups(scores, torch.tensor([7, 7, 3]))
    assert groups.tolist() == [3, 7]
    torch.testing.assert_close(best, torch.tensor([[0.3, 0.4], [0.9, 0.5]]))


def test_videos_without_a_caption_are_items_but_not_queries():
    scores = torch.tensor([[0.5, 0.9, 0.1], [0.2, 0.3, 0.4]])
    report = both_directions(
        scores, torch.tensor([10, 12]), torch.tensor([10, 11, 12])
    )
    assert report['R1'] == 50
    assert report['v2t_R1'] == 100


def test_a_text_without_its_video_is_named():
    with pytest.raises(ValueError, match='row 1 with id 5'):
        both_directions(
            torch.zeros(2, 2), torch.tensor([0, 5]), torch.arange(2)
        )


def test_a_bad_score_is_named_by_text_and_video():
    scores = torch.zeros(3, 2)
    scores[2, 1] = float('nan')
    with pytest.raises(ValueError, match='row 2, column 1'):
        both_directions(scores, torch.tensor([0, 1, 1]), torch.arange(2))


def test_blocks_of_rows_equal_one_block(monkeypatch):
    scores = torch.rand(9, 9)
    want = both_directions(scores, torch.arange(9), torch.arange(9))
    monkeypatch.setattr('mmtvr.evaluation.ranking.BLOCK_CELLS', 20)
    monkeypatch.setattr('mmtvr.evaluation.ranking.BLOCK_CELLS', 20)
    assert both_directions(scores, torch.arange(9), torch.arange(9)) == want
    scores[7, 3] = scores[8, 1] = float('nan')
    with pytest.raises(ValueError, match='row 7, column 3 is nan: 2 of 81'):
        both_directions(scores, torch.arange(9), torch.arange(9))
