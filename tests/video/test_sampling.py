"""One frame per second, padding and time spans."""

import numpy as np
import pytest

from mmtvr.video.sampling import fill_up, find_span, sample_per_second


@pytest.mark.parametrize(
    ('rate', 'count', 'fps', 'expected'),
    [
        (25, 100, 1, [0, 25, 50, 75]),
        (25, 101, 1, [0, 25, 50, 75, 100]),
        # 29.97: the clock does not drift, as counting 29 frames would.
        (
            30000 / 1001,
            300,
            1,
            [0, 29, 59, 89, 119, 149, 179, 209, 239, 269, 299],
        ),
        (25, 100, 0.5, [0, 50]),
        (0.5, 4, 1, [0, 1, 2, 3]),  # a slide show: no frame twice
        (25, 1, 1, [0]),
    ],
)
def test_a_frame_per_tick_of_the_clock(rate, count, fps, expected):
    times = np.arange(count) / rate
    assert sample_per_second(times, 99, fps).tolist() == expected


def test_many_ticks_are_thinned_from_first_to_last():
    times = np.arange(25 * 21) / 25
    expected = [25 * tick for tick in np.linspace(0, 20, 12).astype(int)]
    assert sample_per_second(times, 12).tolist() == expected


def test_irregular_times_show_what_is_on_the_screen():
    times = np.array([0.0, 0.9, 1.1, 4.0, 4.2])
    assert sample_per_second(times, 9).tolist() == [0, 1, 2, 3]


def test_a_span_begins_its_own_clock():
    times = 10.3 + np.arange(75) / 25
    assert sample_per_second(times, 9).tolist() == [0, 25, 50]


def test_filling_up_repeats_or_pads():
    indices, mask = fill_up(np.array([3, 7]), 5, 'repeat')
    assert indices.tolist() == [3, 3, 7, 7, 7]
    assert mask.all()
    indices, mask = fill_up(np.array([3, 7]), 5, 'mask')
    assert indices.tolist() == [3, 7, 7, 7, 7]
    assert mask.tolist() == [True, True, False, False, False]


def test_spans_are_found():
    times = np.arange(40) / 10
    assert find_span(times, 1.0, 2.0) == (10, 10)
    assert find_span(times, None, 0.5) == (0, 5)
    assert find_span(times, 1.01, 1.05) == (10, 1)
    with pytest.raises(ValueError, match='begins at 60'):
        find_span(times, 60.0, 70.0)
