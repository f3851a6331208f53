"""Which frames stand for a segment."""

import numpy as np
import pytest

from mmtvr.video.cache import snap_to_spread, spread_in_segments
from mmtvr.video.sampling import sample_uniformly, segment_bounds


def test_frames_are_evenly_spread():
    bounds = np.array([10, 19, 21, 22])
    assert spread_in_segments(bounds, 3).tolist() == [11, 14, 17, 19, 20, 21]
    assert spread_in_segments(bounds, 1).tolist() == [14, 20, 21]
    assert spread_in_segments(bounds, 99).tolist() == list(range(10, 22))


@pytest.mark.parametrize('total', [12, 13, 40, 331])
@pytest.mark.parametrize('per_segment', [1, 2, 3, 5, 1000])
def test_draws_become_kept_frames_of_their_segment(total, per_segment):
    np.random.seed(0)
    bounds = segment_bounds(total, 12)
    kept = spread_in_segments(bounds, per_segment)
    lengths = np.diff(bounds)
    assert len(kept) == np.minimum(lengths, per_segment).sum()
    for _ in range(50):
        drawn = sample_uniformly(total, 12, random=True)
        snapped = snap_to_spread(drawn, bounds, per_segment)
        assert np.isin(snapped, kept).all()
        assert (bounds[:-1] <= snapped).all()
        assert (snapped < bounds[1:]).all()
        if per_segment == 1000:
            assert (snapped == drawn).all()


@pytest.mark.parametrize('total', [24, 100, 331])
def test_one_frame_of_a_segment_is_near_its_centre(total):
    kept = spread_in_segments(segment_bounds(total, 12), 1)
    centres = sample_uniformly(total, 12)
    assert np.abs(kept - centres).max() <= 1


def test_kept_frames_are_drawn_about_equally_often():
    bounds = np.array([0, 10])
    kept = snap_to_spread(np.arange(10), bounds, 3)
    _, counts = np.unique(kept, return_counts=True)
    assert counts.tolist() == [4, 3, 3]
