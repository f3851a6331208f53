"""Which frames stay, and when they are shown."""

import numpy as np
import pytest

from mmtvr.video.compression.thinning import frame_durations, thin_out


def thin(times, fps, rate=0.0):
    times = np.asarray(times, float)
    return thin_out(times, frame_durations(times, rate), fps)


def test_regular_video_keeps_every_tenth_frame():
    kept = thin(np.arange(90) / 30, 3)
    assert kept.indices.tolist() == list(range(0, 90, 10))
    np.testing.assert_allclose(kept.times, np.arange(9) / 3)
    assert kept.length == pytest.approx(3)


def test_frame_is_the_one_that_is_shown_at_the_time():
    # One long picture, then quick ones.
    times = [0, 2, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9]
    kept = thin(times, 2)
    assert kept.indices.tolist() == [0, 0, 0, 0, 1, 6]


def test_time_stamps_may_be_rounded():
    exact = np.arange(100) / 30
    for rounded in (np.floor(exact * 1000) / 1000, np.round(exact, 3)):
        assert thin(rounded, 3).indices.tolist() == list(range(0, 100, 10))


@pytest.mark.parametrize('rate', [1, 2.5, 3])
def test_slow_video_keeps_its_frames_and_times(rate):
    times = np.arange(7) / rate
    kept = thin(times, 3)
    assert kept.indices.tolist() == list(range(7))
    np.testing.assert_array_equal(kept.times, times)


@pytest.mark.parametrize('count', range(25, 61))
def test_length_stays_to_within_a_frame(count):
    kept = thin(np.arange(count) / 25, 3)
    assert abs(kept.length - count / 25) <= 1 / 3 + 1e-9
    assert kept.length >= count / 25 - 1e-9
    assert kept.indices[-1] < count


def test_single_frame_lasts_as_the_rate_says():
    assert frame_durations(np.zeros(1), 10.0).tolist() == [0.1]
    assert frame_durations(np.zeros(1), 0.0).tolist() == [0.04]
    assert thin([0.0], 3, 10.0).indices.tolist() == [0]


def test_none_keeps_all():
    assert len(thin(np.arange(90) / 30, None).indices) == 90
