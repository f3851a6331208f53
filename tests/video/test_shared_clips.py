"""The right frames of clips that others made."""

import json

import numpy as np
import pytest

from mmtvr.video import AutoReader, UnreadableVideoError

# Left edge and colour, in the second-last 16 rows of a picture 320 wide.
STRESS_PATCHES = [
    (0, (255, 0, 0)),
    (32, (0, 255, 0)),
    (64, (0, 0, 255)),
    (96, (255, 255, 255)),
    (128, (128, 128, 128)),
    (160, (0, 0, 0)),
]


def read_stress_stamp(frame):
    height, width = frame.shape[:2]
    row = frame[round(8 * height / 240)].mean(axis=-1)
    places = [int((16 * bit + 8) * width / 320) for bit in range(16)]
    return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)


@pytest.mark.shared
@pytest.mark.parametrize('short_side', [None, 120])
def test_all_stress_clips_are_right(shared_dir, short_side):
    folder = shared_dir / 'clips' / 'stress'
    expected = json.loads((folder / 'expected.json').read_text())
    for name, numbers in expected.items():
        if numbers == []:
            with pytest.raises(UnreadableVideoError):
                AutoReader(folder / name)
        elif numbers is not None:
            reader = AutoReader(folder / name, short_side)
            count = len(reader)
            assert count == len(numbers), name
            indices = [(2 * i + 1) * count // 24 for i in range(12)]
            indices = [*indices, count - 1, 0, 0]
            frames = reader.get_frames(indices)
            stamps = [read_stress_stamp(frame) for frame in frames]
            assert stamps == [numbers[i] for i in indices], name


@pytest.mark.shared
def test_colours_of_stress_clips_are_kept(shared_dir):
    folder = shared_dir / 'clips' / 'stress'
    expected = json.loads((folder / 'expected.json').read_text())
    files = [name for name, numbers in expected.items() if numbers]
    assert len(files) > 30
    for name in files:
        reader = AutoReader(folder / name)
        frames = reader.get_frames([0, len(reader) // 2, len(reader) - 1])
        patches = STRESS_PATCHES
        if 'gray' in name:
            patches = patches[3:]
        height, width = frames.shape[1:3]
        rows = slice(height * 211 // 240, height * 221 // 240)
        for left, colour in patches:
            columns = slice(
                width * (left + 6) // 320, width * (left + 26) // 320
            )
            found = frames[:, rows, columns].mean(axis=(1, 2))
            assert np.abs(found - colour).max() <= 5, (name, colour)


@pytest.mark.shared
def test_published_frames_are_met(shared_dir):
    clips = shared_dir / 'clips'
    published = np.load(clips / 'torchcodec_reference_frames.npz')
    met = 0
    for prefix, name in (
        ('nasa_stream3_', 'torchcodec__nasa_13013.mp4'),
        ('h265_', 'torchcodec__h265_video.mp4'),
    ):
        for key in published:
            if key.startswith(prefix):
                index = int(key.removeprefix(prefix))
                frame = AutoReader(clips / name).get_frames([index])[0]
                np.testing.assert_array_equal(frame, published[key])
                met += 1
    assert met == 6
