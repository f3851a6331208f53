import pytest
import torch
from torch.utils.data import DataLoader

from mmtvr.engine import loops
from mmtvr.engine.loops import (
    BatchShardingSampler,
    check_same_dataset,
    with_batch_sharding,
)
from mmtvr.errors import SetupError

PLAIN = dict(type='DefaultSampler', shuffle=False)


@pytest.mark.parametrize(
    ('size', 'batch_size', 'world_size'),
    [(10, 3, 2), (9, 3, 3), (2, 4, 3), (7, 1, 2), (0, 3, 2)],
)
def test_processes_share_the_batches_of_one(
    monkeypatch, size, batch_size, world_size
):
    def batches_of(rank, world):
        monkeypatch.setattr(loops, 'get_dist_info', lambda: (rank, world))
        sampler = BatchShardingSampler(range(size), batch_size)
        loader = DataLoader(
            range(size), batch_size, sampler=sampler, collate_fn=list
        )
        batches = list(loader)
        assert len(sampler) == sum(map(len, batches))
        return batches

    shared = [batches_of(rank, world_size) for rank in range(world_size)]
    for rank, batches in enumerate(shared):
        assert batches == batches_of(0, 1)[rank::world_size]


def test_a_plain_sampler_is_replaced_and_the_config_kept():
    config = dict(batch_size=4, sampler=PLAIN, num_workers=2)
    got = with_batch_sharding(config)
    assert got['sampler'] == dict(type=BatchShardingSampler, batch_size=4)
    assert config['sampler'] is PLAIN
    assert got['num_workers'] == 2


@pytest.mark.parametrize(
    'config',
    [
        dict(batch_size=4, sampler=dict(type='DefaultSampler', shuffle=True)),
        dict(batch_size=4, sampler=dict(type='InfiniteSampler')),
        dict(sampler=PLAIN, batch_sampler=dict(type='Mine')),
    ],
)
def test_another_sampler_stays(config):
    assert with_batch_sharding(config) is config


class LeftOut(list):
    def __init__(self, ids):
        super().__init__(range(10 - len(ids)))
        self.metainfo = dict(left_out_ids=ids)


@pytest.mark.parametrize('other', [[], [4], [3, 4]])
def test_processes_with_different_test_sets_stop(in_processes, other):
    def work():
        rank = torch.distributed.get_rank()
        check_same_dataset(LeftOut([3]))
        try:
            check_same_dataset(LeftOut(other if rank else [3]))
        except SetupError as error:
            return str(error)
        return None

    first, second = in_processes(2, work)
    assert first == second
    assert f'of 9, {10 - len(other)} samples' in first


def test_one_process_agrees_with_itself():
    check_same_dataset(range(3))
