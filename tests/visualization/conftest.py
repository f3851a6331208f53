import numpy as np
import pytest

from mmtvr.explanation import Explanation, Masking, Scene

FRAMES = 4


@pytest.fixture
def explanation():
    """Three word pieces and four frames."""
    cosines = np.linspace(-0.2, 0.9, 3 * FRAMES).reshape(3, FRAMES)
    return Explanation(
        words=('[start]', 'dog', '[end]'),
        weights=np.array([1.0, 2.0, 1.0]),
        cosines=cosines,
        sentence=cosines[2],
        score=0.5,
        parts={'sentence': 0.7, 'words': -0.2},
        word_masking=Masking(
            np.array([0.1, 0.7, 0.2]), np.array([False, True, False])
        ),
        frame_masking=Masking(
            np.array([0.6, 0.2, 0.1, 0.1]), np.arange(FRAMES) == 0
        ),
    )


@pytest.fixture
def video():
    """Four grey frames of 30x40 pixels."""
    frames = np.full((FRAMES, 30, 40, 3), 128, np.uint8)
    return Scene('dog.mp4', frames, (0.0, 1.0, 2.0, 3.0), 0.5)
