"""Which captions a page of failures shows."""

import pytest
import torch

from mmtvr.apis.explain import _EncodedSet


@pytest.fixture
def encoded():
    """A test set of five captions and videos with scores by hand."""
    found = object.__new__(_EncodedSet)
    found.scores = torch.tensor(
        [
            [0.9, 0.1, 0.0, 0.0, 0.0],
            [0.0, 0.5, 0.8, 0.0, 0.0],
            [0.0, 0.7, 0.6, 0.0, 0.0],
            [0.0, 0.0, 0.0, 0.3, 0.6],
            [0.2, 0.0, 0.0, 0.7, 0.1],
        ]
    )
    found.truth = torch.arange(5)
    return found


def test_lead_is_over_the_best_wrong_video(encoded):
    leads = encoded.leads()
    expected = torch.tensor([0.8, -0.3, -0.1, -0.3, -0.6])
    torch.testing.assert_close(leads, expected)


def test_confused_pairs_come_by_how_far_wrong_videos_lead(encoded):
    assert encoded.confused(5) == [[3, 4], [1, 2]]
    assert encoded.confused(1) == [[3, 4]]


def test_captions_of_one_video_are_not_confused(encoded):
    encoded.truth = torch.tensor([0, 1, 1, 2, 2])
    encoded.scores[1:3] = torch.tensor([0.0, 0.9, 0.0, 0.0, 0.0])
    encoded.scores[3:] = torch.tensor([0.0, 0.0, 0.9, 0.0, 0.0])
    assert encoded.confused(5) == []
