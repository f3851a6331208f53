import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import BatchSampler, DataLoader

from mmtvr.datasets import ResumableBatchSampler, SeededDataset
from mmtvr.datasets.samplers import NeighbourSampler, SeededIndex


class Unreadable(BaseDataset):
    """Every third sample is replaced by another one, as in training."""

    def load_data_list(self):
        return [dict(number=number) for number in range(30)]

    def prepare_data(self, idx):
        if idx % 3 == 0:
            return None
        return int(idx), np.random.randint(1000), torch.rand(()).item()


@pytest.fixture
def dataset():
    return SeededDataset(Unreadable())


def seeds(batches):
    return [[index.seed for index in batch] for batch in batches]


def test_a_number_keeps_its_seed_on_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(SeededIndex(3, 2**63)))
    assert (index, index.seed) == (3, 2**63)


def test_a_sample_depends_on_its_seed_alone(dataset):
    one = dataset[SeededIndex(0, 5)]
    dataset[SeededIndex(1, 6)]
    assert dataset[SeededIndex(0, 5)] == one
    assert dataset[SeededIndex(0, 7)] != one


def test_loading_leaves_the_generators_of_the_process(dataset):
    np.random.seed(0)
    expected = np.random.rand()
    np.random.seed(0)
    dataset[SeededIndex(0, 5)]
    assert np.random.rand() == expected


def test_a_plain_number_draws_as_ever(dataset):
    np.random.seed(0)
    one = dataset[1]
    assert dataset[1] != one
    np.random.seed(0)
    assert dataset[1][1] == one[1]


def test_the_dataset_within_is_seen_through(dataset):
    assert len(dataset) == 30
    assert dataset.get_data_info(2)['number'] == 2
    assert pickle.loads(pickle.dumps(dataset)).metainfo == {}
    with pytest.raises(AttributeError):
        dataset.nothing  # noqa: B018


@pytest.mark.parametrize('workers', [0, 1, 3])
def test_batches_are_the_same_for_any_number_of_workers(dataset, workers):
    def load(workers):
        batches = ResumableBatchSampler(range(30), 7)
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=list,
        )
        return list(loader)

    assert load(workers) == load(0)


def test_batches_left_out_do_not_change_the_others():
    batches = ResumableBatchSampler(range(10), 3)
    batches.set_place(epoch=2, first_batch=0)
    whole = list(batches)
    batches.set_place(epoch=2, first_batch=2)
    rest = list(batches)
    assert rest == whole[2:] == [[6, 7, 8], [9]]
    assert seeds(rest) == seeds(whole[2:])
    assert len(batches) == 4


def test_epochs_and_seeds_of_runs_differ():
    batches = ResumableBatchSampler(range(4), 2)
    found = [seeds(batches)]
    batches.set_place(epoch=1, first_batch=0)
    found.append(seeds(batches))
    batches.seed = 1
    found.append(seeds(batches))
    assert len(set(np.array(found).ravel().tolist())) == 12


def test_processes_draw_as_one_process_would():
    together = ResumableBatchSampler(range(6), 6)
    (expected,) = seeds(together)
    found = []
    for rank in range(2):
        part = ResumableBatchSampler(range(rank, 6, 2), 3)
        part.rank, part.world_size = rank, 2
        found.append(seeds(part)[0])
    assert found == [expected[0::2], expected[1::2]]


def test_another_batch_sampler_makes_the_batches():
    batches = ResumableBatchSampler(
        range(5), 2, batch_sampler=dict(type=BatchSampler, drop_last=True)
    )
    assert list(batches) == [[0, 1], [2, 3]]


@pytest.mark.parametrize('size', [2, 3])
def test_neighbours_come_together_in_a_new_order(size):
    sampler = NeighbourSampler(range(8), group_size=size, seed=0)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert list(sampler) == orders[-1]
        assert sorted(orders[-1]) == list(range(8))
        for number, place in enumerate(map(orders[-1].index, range(8))):
            if number % size:
                assert orders[-1][place - 1] == number - 1
    assert orders[0] != orders[1]


def test_neighbours_of_processes_make_the_order_of_one():
    whole = list(NeighbourSampler(range(7), seed=3))
    parts = []
    for rank in range(2):
        sampler = NeighbourSampler(range(7), seed=3)
        sampler.rank, sampler.world_size = rank, 2
        sampler.total_size = 8
        parts.append(list(sampler))
    assert [n for pair in zip(*parts, strict=True) for n in pair] == [
        *whole,
        whole[0],
    ]


def test_group_without_samples_is_refused():
    with pytest.raises(ValueError, match=r'group_size.*0'):
        NeighbourSampler(range(4), group_size=0)
