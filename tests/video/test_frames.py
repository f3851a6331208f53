"""Pictures that are reduced while they are converted."""

import av
import cv2
import numpy as np

from mmtvr.video import AutoReader


def test_reduced_pictures_keep_their_colours(tmp_path):
    path = tmp_path / 'stripes.mkv'
    # Once reduced, one pixel each.
    stripes = np.zeros((120, 160, 3), np.uint8)
    stripes[..., 0] = 255 * (np.arange(160) // 4 % 2)
    stripes[..., 2] = 255 - stripes[..., 0]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, 'yuv420p'
        frame = av.VideoFrame.from_ndarray(stripes, 'rgb24')
        frame = frame.reformat(format='yuv420p')
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with AutoReader(path, short_side=30) as reader:
        (picture,) = reader.get_frames([0])
    expected = cv2.resize(stripes, (40, 30), interpolation=cv2.INTER_AREA)
    packed = frame.reformat(40, 30, 'rgb24', interpolation='BICUBIC')
    assert largest_error(picture, expected) < 60
    # What the test is there to tell apart.
    assert largest_error(packed.to_ndarray(), expected) > 100


def largest_error(picture, expected):
    return np.abs(picture.astype(int) - expected).max()
