"""What the packets of a file say for decoding single frames, and against."""

import numpy as np
import pytest

from mmtvr.video.packets import UNKNOWN_TIME, PacketTable
from mmtvr.video.trust import find_beginnings, why_in_order


def table(**changes):
    """Two closed groups of I P B B in the order of decoding."""
    none = np.zeros(8, bool)
    key = np.array([1, 0, 0, 0, 1, 0, 0, 0], bool)
    usual = dict(
        container='mov,mp4,m4a,3gp,3g2,mj2',
        codec='h264',
        pts=np.array([0, 3, 1, 2, 4, 7, 5, 6]),
        dts=np.arange(8) - 2,
        key=key,
        closed=key,
        droppable=none,
        parameters=none,
        shown=~none,
        odd=none,
        inspected=True,
    )
    return PacketTable(**{**usual, **changes})


def test_usual_file_is_trusted():
    assert why_in_order(table()) is None
    assert find_beginnings(table()).tolist() == [0, 4]


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        (dict(container='avi'), 'container avi'),
        (dict(codec='mpeg4'), 'codec mpeg4'),
        (dict(inspected=False), 'units without lengths'),
        (dict(odd=np.arange(8) == 3), 'an edit list'),
        (dict(shown=np.arange(8) != 3), 'not one picture each'),
        (dict(key=np.arange(8) == 4), 'no keyframe at the beginning'),
        (dict(pts=np.array([0, 3, 1, 1, 4, 7, 5, 6])), 'two pictures'),
        (
            dict(pts=np.array([0, 3, UNKNOWN_TIME, 2, 4, 7, 5, 6])),
            'pictures without a time',
        ),
        (dict(dts=np.array([0, 1, 3, 2, 4, 5, 6, 7])), 'out of order'),
        (dict(parameters=np.arange(8) == 4), 'settings of the decoder'),
        (dict(parameters=np.arange(8) == 2), 'settings of the decoder'),
    ],
)
def test_unusual_files_are_read_in_order(changes, reason):
    assert reason in why_in_order(table(**changes))


def test_settings_with_every_keyframe_are_trusted():
    key = table().key
    assert why_in_order(table(parameters=key)) is None


def test_pictures_across_a_keyframe_forbid_to_begin_there():
    leading = table(pts=np.array([0, 4, 1, 2, 5, 7, 3, 6]))
    assert find_beginnings(leading).tolist() == [0]
