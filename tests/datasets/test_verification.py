"""What the inspection of a video says against it."""

import json

import pytest

from mmtvr.datasets.verification import find_suspicious
from mmtvr.video.inspection import Inspection, inspect_video

FACTS = dict(
    codec='h264',
    seconds=10.0,
    fps=25.0,
    frames_told=250,
    frames_held=250,
    sizes=[(240, 320)],
    brightness=(80.0, 90.0),
    contrast=50.0,
    end='',
)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(), []),
        (dict(frames_told=0), []),
        (dict(frames_held=248), ['its header reports 250 frames, not 248']),
        (
            dict(frames_told=0, frames_held=0, sizes=[]),
            ['it holds no frame'],
        ),
        (dict(seconds=9000.0), ['it lasts 2.5 hours']),
        (dict(seconds=0.2), ['it lasts 0.20 s']),
        (dict(seconds=0.0, fps=0.0), []),
        (dict(fps=1.5), ['it has 1.5 frames/s']),
        (dict(fps=1000.0), ['it has 1000 frames/s']),
        (
            dict(sizes=[(240, 320), (480, 640)]),
            ['its size changes: 320x240, 640x480'],
        ),
        (dict(sizes=[(16, 64)]), ['it is small: 64x16']),
        (
            dict(brightness=(15.9, 16.4), contrast=0.6),
            ['all inspected frames are black'],
        ),
        (
            dict(brightness=(99.0, 100.0), contrast=0.6),
            ['all inspected frames are of one colour'],
        ),
        (dict(brightness=(20.0, 100.0), contrast=0.6), []),
        (dict(end='broken'), ['reading stopped before the end: broken']),
    ],
)
def test_what_is_suspicious_is_reported(changes, expected):
    assert find_suspicious(Inspection(**FACTS | changes)) == expected


@pytest.mark.shared
def test_hostile_clips_are_inspected_as_they_are(shared_dir):
    stress = shared_dir / 'clips' / 'stress'
    expected = json.loads((stress / 'expected.json').read_text())
    for name in ('mpeg2.mpg', 'h264_ts.ts', 'mkv_no_duration_no_cues.mkv'):
        facts = Inspection(**inspect_video(str(stress / name)))
        assert facts.frames_held == len(expected[name])
        assert facts.sizes == [(240, 320)]
