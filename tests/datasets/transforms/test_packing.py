"""PackTextVideo: tensors for the model, meta information beside them."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from mmtvr.registry import TRANSFORMS


def pack(results, **options):
    return TRANSFORMS.build(dict(type='mmtvr.PackTextVideo', **options))(
        results
    )


def make_results(frames=3, captions=2, words=5):
    imgs = [
        np.random.randint(0, 255, (8, 6, 3), dtype=np.uint8)
        for _ in range(frames)
    ]
    return dict(
        imgs=imgs,
        frame_mask=np.ones(frames, dtype=bool),
        frame_inds=np.arange(frames),
        tokens=np.ones((captions, words), dtype=np.int64),
        token_mask=np.ones((captions, words), dtype=bool),
        token_weight=np.ones((captions, words), dtype=np.float32),
        cut_pieces=np.zeros(captions, dtype=np.int64),
        video_id=7,
        sample_idx=3,
        filename='v.mp4',
        text=['a', 'b'],
        other='not packed',
    )


def test_inputs_are_tensors_of_the_promised_types():
    results = make_results()
    inputs = pack(results)['inputs']
    assert {key: (tuple(x.shape), x.dtype) for key, x in inputs.items()} == {
        'frames': ((3, 3, 8, 6), torch.uint8),
        'frame_mask': ((3,), torch.bool),
        'tokens': ((2, 5), torch.int64),
        'token_mask': ((2, 5), torch.bool),
        'token_weight': ((2, 5), torch.float32),
        'cut_pieces': ((2,), torch.int64),
    }
    np.testing.assert_array_equal(
        inputs['frames'][1, 2].numpy(), results['imgs'][1][:, :, 2]
    )


def test_formatted_frames_pack_like_a_list():
    results = make_results()
    plain = pack(results)['inputs']['frames']
    formatted = np.stack(results['imgs'])[:, :, ::-1][:, :, ::-1]
    results['imgs'] = formatted.transpose(0, 3, 1, 2)
    assert torch.equal(pack(results)['inputs']['frames'], plain)


def test_flipped_frames_pack():
    results = make_results()
    results['imgs'] = [frame[:, ::-1] for frame in results['imgs']]
    frames = pack(results)['inputs']['frames']
    assert frames.is_contiguous()
    np.testing.assert_array_equal(
        frames[0, 0].numpy(), results['imgs'][0][:, :, 0]
    )


def test_meta_information_holds_the_keys():
    sample = pack(make_results())['data_samples']
    assert sample.video_id == 7
    assert sample.sample_idx == 3
    assert sample.filename == 'v.mp4'
    assert sample.text == ['a', 'b']
    assert sample.frame_inds.tolist() == [0, 1, 2]
    assert 'other' not in sample


def test_one_caption_becomes_a_list():
    results = {**make_results(), 'text': 'a caption'}
    assert pack(results)['data_samples'].text == ['a caption']


def test_meta_keys_can_be_chosen():
    sample = pack(make_results(), meta_keys=['other'])['data_samples']
    assert sample.metainfo == {'other': 'not packed'}


def test_missing_parts_are_not_packed():
    results = make_results()
    text = {k: v for k, v in results.items() if k not in ('imgs',)}
    assert 'frames' not in pack(text)['inputs']
    video = dict(imgs=results['imgs'], video_id=1)
    inputs = pack(video)['inputs']
    assert set(inputs) == {'frames', 'frame_mask'}
    assert inputs['frame_mask'].all()


def test_frames_of_different_sizes_are_refused():
    results = make_results()
    results['imgs'] = np.zeros((3, 8, 6), dtype=np.uint8)
    with pytest.raises(ValueError, match=r'shape \(3, 8, 6\)'):
        pack(results)


def test_collated_samples_stay_lists():
    batch = pseudo_collate(
        [pack(make_results(captions=1)), pack(make_results(captions=4))]
    )
    assert [len(x) for x in batch['inputs']['tokens']] == [1, 4]
    assert len(batch['data_samples']) == 2
