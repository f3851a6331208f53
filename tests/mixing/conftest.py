"""A small data set in mmaction2's layout."""

import json

import av
import mmaction
import numpy as np
import pytest

CAPTIONS = {
    'video0.mp4': ['a red dog runs'],
    'video1.mp4': ['the young man is a man'],
    'video2.mp4': ['a man'],
    'video3.mp4': ['the dog is red'],
}


@pytest.fixture(scope='session')
def mmaction_models():
    """Skips where mmaction2's own models cannot be imported."""
    if not mmaction.__version__.startswith('1.1.'):
        pytest.skip('the wheel of mmaction2 1.2.0 lacks a folder of models')


@pytest.fixture(scope='session')
def small_set(tmp_path_factory):
    """Folder with ``annotations.json`` and ``videos/`` of four clips."""
    root = tmp_path_factory.mktemp('small_set')
    (root / 'videos').mkdir()
    (root / 'annotations.json').write_text(json.dumps(CAPTIONS))
    generator = np.random.default_rng(0)
    for name in CAPTIONS:
        with av.open(str(root / 'videos' / name), 'w') as container:
            stream = container.add_stream('libx264', rate=8)
            stream.width, stream.height = 64, 48
            colour = generator.integers(0, 255, 3, dtype=np.uint8)
            for _ in range(16):
                picture = np.broadcast_to(colour, (48, 64, 3)).copy()
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return root
