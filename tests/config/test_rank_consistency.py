"""Ranks that start from different things are refused."""

import json

import pytest
from mmengine.config import Config
from torch import distributed as dist

from mmtvr.config import rank_consistency
from mmtvr.config.rank_consistency import (
    check_rank_consistency,
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
    monkeypatch.setattr(
        rank_consistency.metadata, 'version', lambda name: '0.0'
    )
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


def test_every_rank_names_what_differs_and_where(data, in_processes):
    def start():
        seed = int(dist.get_rank() == 1)
        cfg = config(data / 'a', randomness=dict(seed=seed))
        try:
            check_rank_consistency(cfg)
        except SetupError as error:
            return str(error)

    messages = in_processes(3, start)
    assert messages[0] == messages[1] == messages[2]
    assert 'randomness.seed: 0 on rank 0, 2' in messages[0]
    assert '; 1 on rank 1' in messages[0]
