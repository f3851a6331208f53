"""From lists of samples to tensors on the device."""

import pytest
import torch
from mmaction.structures import ActionDataSample

from mmtvr.errors import SetupError
from mmtvr.models import TextVideoPreprocessor


def batch(captions=(1, 3), size=4):
    inputs = dict(frames=[], frame_mask=[], tokens=[], token_mask=[])
    samples = []
    for number, count in enumerate(captions):
        inputs['frames'].append(
            torch.full((2, 3, size, size), 10 * number, dtype=torch.uint8)
        )
        inputs['frame_mask'].append(torch.ones(2).bool())
        inputs['tokens'].append(torch.full((count, 5), number))
        inputs['token_mask'].append(torch.ones(count, 5).bool())
        samples.append(ActionDataSample(metainfo=dict(video_id=7 + number)))
    return dict(inputs=inputs, data_samples=samples)


def test_captions_are_joined_and_know_their_video():
    out = TextVideoPreprocessor()(batch())['inputs']
    assert out['tokens'].shape == (4, 5)
    assert out['video_of_text'].tolist() == [0, 1, 1, 1]
    assert out['video_ids'].tolist() == [7, 8]
    assert out['frame_mask'].shape == (2, 2)


def test_frames_are_normalised_per_channel():
    preprocessor = TextVideoPreprocessor(mean=(1, 2, 3), std=(2, 4, 5))
    stacked = preprocessor(batch())['inputs']['frames']
    assert stacked.dtype == torch.uint8

    frames = preprocessor.normalize(stacked)

    assert frames.dtype == torch.float32
    assert frames[1, 0, :, 0, 0].tolist() == pytest.approx([4.5, 2.0, 1.4])


def test_texts_alone_and_videos_alone_work():
    data = batch()
    texts = {k: v for k, v in data['inputs'].items() if 'token' in k}
    out = TextVideoPreprocessor()(dict(inputs=texts))['inputs']
    assert set(out) == {'tokens', 'token_mask', 'video_of_text'}
    videos = {k: v for k, v in data['inputs'].items() if 'frame' in k}
    out = TextVideoPreprocessor()(dict(inputs=videos))['inputs']
    assert set(out) == {'frames', 'frame_mask'}


def test_frames_of_two_sizes_name_the_crop():
    data = batch()
    data['inputs']['frames'][0] = torch.zeros(2, 3, 4, 6, dtype=torch.uint8)
    with pytest.raises(SetupError, match='CenterCrop'):
        TextVideoPreprocessor()(data)
