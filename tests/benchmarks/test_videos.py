"""The benchmarks that read videos, on tiny ones."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import benchmark_supervision, benchmark_video
from benchmarks.synthetic import make_clips, make_noise_videos
from mmtvr.video.decoder_process import end_decoder_process

ROOT = Path(__file__).resolve().parents[2]
SOAK = """
import json, os, runpy
script = runpy.run_module('benchmarks.faults.soak_video')
script['RARITY'].update(empty=5, cut=5, dies=10, hangs=30)
options = '--samples 60 --every 20 --time-limit 2'
rows = script['main'](options.split())
held = os.memfd_create('mmtvr-frames')
print(json.dumps([rows, script['measure']()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='counts in /proc')
def test_many_samples_leave_no_handle_open():
    # Threads, garbage and closed logs of earlier tests open and close files
    # too, so that this counts in an interpreter of its own.
    run = subprocess.run(
        [sys.executable, '-c', SOAK],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=240,
        check=True,
    )
    *printed, found = run.stdout.splitlines()
    rows, more = json.loads(found)
    first, *rest, last = rows
    assert last['samples'] == 60
    assert 15 <= last['unreadable'] < 40
    assert last['helpers'] > 3
    counts = ('worker_files', 'helper_files', 'shared_files', 'children')
    for row in (*rest, last):
        assert {n: row[n] for n in counts} == {n: first[n] for n in counts}
    assert first['children'] == 1
    assert more['shared_files'] == first['shared_files'] + 1
    assert more['worker_files'] == first['worker_files'] + 1
    table = printed[-1 - len(rows) :]
    assert table[0].split() == list(first)
    assert table[-1].split()[0] == '60'


def test_supervised_and_direct_reading_are_compared(tmp_path):
    paths = make_noise_videos(tmp_path)
    (tmp_path / 'none.mp4').touch()
    found = benchmark_supervision.readable(
        [*paths, str(tmp_path / 'none.mp4')], 'auto'
    )
    assert found == paths
    rows = benchmark_supervision.compare(paths[:1], 'auto', 48, 2)
    assert rows[0]['file'] == 'a.mp4'
    assert rows[0]['helper_ms'] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='counts in /proc')
def test_ways_to_read_videos_are_compared(tmp_path):
    pytest.importorskip('decord')
    (clip,) = make_clips(tmp_path, seconds=1, sizes=[(120, 160)])
    out = tmp_path / 'table.json'
    options = '--num-frames 3 --size 32 --num-workers 1 --rounds 1 --samples 2'

    benchmark_video.main([str(clip), '--out', str(out), *options.split()])

    end_decoder_process()
    rows = json.loads(out.read_text(encoding='utf-8'))['rows']
    assert [row['kind'] for row in rows] == [
        '160x120, original',
        '160x120, 3 fps',
        'mean',
    ]


def test_all_ways_give_frames_of_the_asked_size(tmp_path):
    pytest.importorskip('decord')
    (clip,) = make_clips(tmp_path, seconds=1, sizes=[(120, 160)])
    ways = benchmark_video.make_ways(3, 32)
    frames = {name: way(str(clip)) for name, way in ways.items()}
    end_decoder_process()
    assert all(found.shape == (3, 3, 32, 32) for found in frames.values())
    middle = np.abs(frames['test'].astype(int) - frames['decord']).mean()
    assert middle < 8
    assert not frames['opencv'][1:].any()
