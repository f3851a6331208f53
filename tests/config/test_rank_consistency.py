"""Processes that start from different things are told so."""

import json
import threading

import pytest
from mmengine.config import Config
from torch import distributed as dist

from mmtvr.apis import same_start
from mmtvr.apis.same_start import (
    check_same_start,
    digest_file,
    find_differences,
    gather_facts,
    sample_weights,
)
from mmtvr.errors import SetupError


def config(root, **more):
    dataset = dict(data_root=str(root), ann_file='train.json')
    return Config(dict(train_dataloader=dict(dataset=dataset), **more))


@pytest.fixture
def data(tmp_path):
    """Two folders with the same annotation file."""
    for name in 'ab':
        (tmp_path / name).mkdir()
        path = tmp_path / name / 'train.json'
        path.write_text(json.dumps({'v.mp4': ['a dog']}))
    return tmp_path


def names(*configs):
    return list(find_differences([gather_facts(cfg) for cfg in configs]))


def test_the_same_data_in_another_place_is_the_same(data):
    first, other = data / 'a', data / 'b'
    assert names(config(first, work_dir='x'), config(other)) == []


def test_another_annotation_file_is_named(data):
    (data / 'b/train.json').write_text(json.dumps({'v.mp4': ['a cat']}))
    place = 'the content of train_dataloader.dataset.ann_file'
    assert names(config(data / 'a'), config(data / 'b')) == [place]
    (data / 'b/train.json').unlink()
    assert digest_file(data / 'b/train.json') == 'no file'


def test_another_setting_is_named_with_its_place(data):
    one, two = (
        config(data / 'a', optimizer=dict(lr=lr), pipeline=[dict(size=lr)])
        for lr in (0.1, 0.2)
    )
    assert names(one, two) == ['optimizer.lr', 'pipeline[0].size']


def test_another_version_is_named(data, monkeypatch):
    one = gather_facts(config(data / 'a'))
    monkeypatch.setattr(same_start.metadata, 'version', lambda name: '0.0')
    two = gather_facts(config(data / 'a'))
    assert 'the version of torch' in find_differences([one, two])


def test_weights_are_told_apart_by_their_ends(tmp_path):
    digests = []
    for end in b'xyy':
        path = tmp_path / 'model.safetensors'
        path.write_bytes(bytes(3 * 2**20) + bytes([end]))
        digests.append(sample_weights(str(tmp_path)))
    assert digests[0] != digests[1] == digests[2]
    assert sample_weights('/nowhere') == 'none here'


def test_every_process_names_what_differs_and_where(data, monkeypatch):
    monkeypatch.setattr(dist, 'get_world_size', lambda: 3)
    ranks = threading.local()
    monkeypatch.setattr(dist, 'get_rank', lambda: ranks.mine)
    store = dist.HashStore()
    messages = [None] * 3

    def start(rank):
        ranks.mine = rank
        cfg = config(data / 'a', randomness=dict(seed=int(rank == 1)))
        try:
            check_same_start(cfg, store, 60)
        except SetupError as error:
            messages[rank] = str(error)

    threads = [threading.Thread(target=start, args=(r,)) for r in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert messages[0] == messages[1] == messages[2]
    assert 'randomness.seed: 0 on process 0, 2' in messages[0]
    assert '; 1 on process 1' in messages[0]
