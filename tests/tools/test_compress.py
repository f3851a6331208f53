"""tools/data/compress.py: copies that are right, and those refused."""

import csv
import importlib.util
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from mmtvr.datasets.readers import get_reader
from mmtvr.errors import SetupError
from mmtvr.video import UnreadableVideoError

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/data/compress.py'
SPEC = importlib.util.spec_from_file_location('compress_script', SCRIPT)
module = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(module)

OPEN = get_reader('auto')
HOW = module.Options(fps=2.0, short_side=48)


def compress(source, target, how=HOW, reader=OPEN):
    module.compress_video(str(source), Path(target), reader, how)


@pytest.mark.parametrize(
    ('name', 'shape'),
    [('video0.mp4', (48, 72)), ('video1.mp4', (72, 48))],
)
def test_copy_shows_the_frames_of_the_source(
    tiny_videos, tmp_path, read_stamp, name, shape
):
    source = tiny_videos / 'videos' / name
    before = source.read_bytes()
    target = tmp_path / 'deep' / 'copy.avi'
    compress(source, target)
    with OPEN(target) as copy:
        assert copy.original_shape == shape
        frames = copy.get_frames(range(len(copy)))
        np.testing.assert_allclose(copy.get_times(), np.arange(len(copy)) / 2)
    count = 40 if name == 'video0.mp4' else 30
    # The source has 10 frames per second.
    assert [read_stamp(frame) for frame in frames] == list(range(0, count, 5))
    assert source.read_bytes() == before
    assert [each.name for each in target.parent.iterdir()] == ['copy.avi']


def test_slow_and_small_video_keeps_rate_and_size(tmp_path):
    source, target = tmp_path / 'slow.mp4', tmp_path / 'copy.mp4'
    frames = np.linspace(0, 255, 4 * 33 * 47 * 3).astype(np.uint8)
    frames = frames.reshape(4, 33, 47, 3)
    times = np.array([0, 1.5, 2.0, 4.25])
    lasting = np.array([1.5, 0.5, 2.25, 1.5])
    kept = module.Thinned(np.arange(4), times, lasting)
    module.write_h264(source, frames, (32, 46), kept, 10)
    compress(source, target)
    with OPEN(target) as copy:
        np.testing.assert_allclose(copy.get_times(), times, atol=1e-3)
        assert copy.original_shape == (32, 46)
    with av.open(str(target)) as container:
        assert container.duration / av.time_base == pytest.approx(
            5.75, abs=0.01
        )
        assert not container.streams.audio


def test_source_without_ascending_times_is_refused(tiny_videos, tmp_path):
    class Backwards(OPEN.func):
        def get_times(self):
            return super().get_times()[::-1]

    with pytest.raises(UnreadableVideoError, match='do not ascend'):
        compress(
            tiny_videos / 'videos/video0.mp4', tmp_path / 'x', HOW, Backwards
        )
    assert not list(tmp_path.iterdir())


def shortened(kept):
    return module.Thinned(*(each[:-1] for each in kept))


def faster(kept):
    return module.Thinned(kept.indices, kept.times / 2, kept.durations / 2)


def write_less(path, frames, size, kept, *how):
    WRITE(path, list(frames)[:-1], size, shortened(kept), *how)


def write_shifted(path, frames, size, kept, *how):
    frames = list(frames)
    WRITE(path, frames[1:] + frames[:1], size, kept, *how)


def write_fast(path, frames, size, kept, *how):
    WRITE(path, frames, size, faster(kept), *how)


def write_coarse(path, frames, size, kept, crf, note):
    WRITE(path, frames, size, kept, 51, note)


def write_small(path, frames, size, kept, *how):
    WRITE(path, frames, (16, 16), kept, *how)


def write_nothing(path, frames, size, kept, *how):
    list(frames)
    open(path, 'w').close()


WRITE = module.write_h264


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (write_less, '7 frames instead of 8'),
        (write_shifted, 'frame 0 differs from frame 0'),
        (write_fast, 'other times'),
        (write_coarse, 'PSNR'),
        (write_small, r'\(16, 16\) pixels'),
        (write_nothing, 'cannot be read'),
    ],
)
def test_copy_that_lost_something_is_not_kept(
    tiny_videos, tmp_path, monkeypatch, write, message
):
    monkeypatch.setattr(module, 'write_h264', write)
    with pytest.raises(module.LossyCopyError, match=message):
        compress(tiny_videos / 'videos' / 'video0.mp4', tmp_path / 'copy.mp4')
    assert not list(tmp_path.iterdir())


def test_long_videos_are_read_in_blocks(tiny_videos, tmp_path, monkeypatch):
    monkeypatch.setattr(module, 'BLOCK_BYTES', 3 * 48 * 72 * 3)
    source = tiny_videos / 'videos' / 'video0.mp4'
    compress(source, tmp_path / 'blocks.mp4')
    monkeypatch.undo()
    compress(source, tmp_path / 'whole.mp4')
    blocks = (tmp_path / 'blocks.mp4').read_bytes()
    assert blocks == (tmp_path / 'whole.mp4').read_bytes()


def test_psnr_by_hand():
    black = np.zeros((2, 2, 3), np.uint8)
    psnr = module.psnr
    assert psnr(black, black) == np.inf
    assert psnr(black, black + 255) == 0
    assert psnr(black, black + 51) == pytest.approx(20 * np.log10(5))


def read_stress_stamp(frame):
    """Sixteen bits in blocks of 16x16 at the top of a 320x240 picture."""
    row = frame[round(8 * len(frame) / 240)].mean(axis=-1)
    places = [int((16 * bit + 8) * len(row) / 320) for bit in range(16)]
    return int(''.join('1' if row[i] > 127 else '0' for i in places), 2)


@pytest.mark.shared
@pytest.mark.parametrize(
    'name',
    [
        'editlist_copycut.mp4',
        'mpeg2.mpg',
        'mpeg4_xvid_b.avi',
        'odd_321x241_444.mp4',
        'vfr_irregular.mkv',
    ],
)
def test_copies_of_hostile_files_show_the_right_frames(
    shared_dir, tmp_path, name
):
    folder = shared_dir / 'clips' / 'stress'
    numbers = json.loads((folder / 'expected.json').read_text())[name]
    target = tmp_path / name
    compress(folder / name, target, module.Options())
    with OPEN(folder / name) as source, OPEN(target) as copy:
        times = source.get_times()
        shown = np.searchsorted(times, copy.get_times() + 1e-3, 'right') - 1
        frames = copy.get_frames(range(len(copy)))
        assert copy.original_shape[0] == 224
    stamps = [read_stress_stamp(frame) for frame in frames]
    assert stamps == [numbers[place] for place in shown]


def thin(times, fps, rate=0.0):
    times = np.asarray(times, float)
    lasting = module.frame_durations(times, rate)
    return module.thin_out(times, lasting, fps)


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
    assert module.frame_durations(np.zeros(1), 10.0).tolist() == [0.1]
    assert module.frame_durations(np.zeros(1), 0.0).tolist() == [0.04]
    assert thin([0.0], 3, 10.0).indices.tolist() == [0]


def test_none_keeps_all():
    assert len(thin(np.arange(90) / 30, None).indices) == 90


@pytest.fixture
def folder(tiny_videos, tmp_path):
    """Two good videos, a broken one, and a file of another kind."""
    folder = tmp_path / 'videos'
    (folder / 'deep').mkdir(parents=True)
    shutil.copy(tiny_videos / 'videos/video3.mp4', folder / 'a.avi')
    shutil.copy(tiny_videos / 'videos/video4.mp4', folder / 'deep/b c.mkv')
    (folder / 'captions.json').write_text('{}')
    (folder / '.hidden.mp4').touch()
    return folder


@pytest.fixture
def run(folder, tmp_path):
    def run(*extra):
        output = tmp_path / 'out'
        size = ('--short-side', '32')
        module.main(
            [str(folder), str(output), '--workers', '0', *size, *extra]
        )
        return output

    return run


def names(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file()
    )


def test_copies_keep_names_and_sources(run, folder, capsys):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    output = run()
    copies = [
        'a.avi',
        'deep/b c.mkv',
        'not_compressed.csv',
    ]
    assert names(output) == copies
    assert {n: (folder / n).read_bytes() for n in names(folder)} == before
    said = capsys.readouterr().out
    assert 'copies of all, checked' in said


def test_second_run_goes_on_where_the_first_ended(run, monkeypatch):
    made = []

    def stop_after_one(source, *rest):
        if made:
            raise KeyboardInterrupt
        made.append(source)
        return COMPRESS(source, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(module, 'compress_video', stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            run()
    del made[:]

    def count(source, *rest):
        made.append(source)
        return COMPRESS(source, *rest)

    monkeypatch.setattr(module, 'compress_video', count)
    output = run()
    assert len(made) == 1
    (output / 'a.avi').unlink()
    run()
    assert (output / 'a.avi').is_file()
    run()
    assert len(made) == 2


COMPRESS = module.compress_video


def test_what_a_killed_command_left_is_removed_later(run):
    output = run()
    old, new = (output / f'deep/{n}.mp4.1-a.partial' for n in 'ab')
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    run()
    assert not old.exists()
    assert new.exists()


def test_changed_source_is_compressed_again(run, folder, tiny_videos, capsys):
    output = run()
    before = (output / 'a.avi').read_bytes()
    shutil.copy(tiny_videos / 'videos/video0.mp4', folder / 'a.avi')
    run()
    assert (output / 'a.avi').read_bytes() != before


def test_videos_without_a_copy_are_listed(run, folder, tmp_path):
    (folder / 'broken.mp4').write_bytes(b'no video')
    with pytest.raises(SetupError, match='1 of 3 videos have no copy'):
        run()
    with (tmp_path / 'out' / 'not_compressed.csv').open() as file:
        _header, (name, problem) = csv.reader(file)
    assert name == 'broken.mp4'
    assert problem.startswith('unreadable: ')
    with pytest.raises(SetupError, match='failed the check'):
        run_with_check(folder, tmp_path / 'strict')
    assert not (tmp_path / 'strict' / 'a.avi').exists()
    assert (folder / 'broken.mp4').read_bytes() == b'no video'


def run_with_check(folder, output):
    strict = ('--min-psnr', '99')
    module.main([str(folder), str(output), '--workers', '0', *strict])


def test_other_options_make_other_copies(run):
    before = (run() / 'deep/b c.mkv').read_bytes()
    output = run('--fps', '1')
    assert (output / 'deep/b c.mkv').read_bytes() != before


@pytest.mark.parametrize('output', ['videos', 'videos/copies', '.'])
def test_folders_in_each_other_are_refused(folder, tmp_path, output):
    with pytest.raises(SetupError, match='lie in each other'):
        module.main([str(folder), str(tmp_path / output)])


def test_files_of_someone_else_are_left_alone(run, tmp_path, tiny_videos):
    (tmp_path / 'out/deep').mkdir(parents=True)
    other = tmp_path / 'out/deep/b c.mkv'
    shutil.copy(tiny_videos / 'videos/video0.mp4', other)
    (tmp_path / 'out' / 'a.avi').write_text('precious')
    with pytest.raises(SetupError, match='2 of 2 videos have no copy'):
        run()
    assert (tmp_path / 'out' / 'a.avi').read_text() == 'precious'
    assert other.stat().st_size > 5000
    report = (tmp_path / 'out/not_compressed.csv').read_text()
    assert report.count('not overwritten') == 2


def test_full_disk_ends_the_command(run, monkeypatch, tmp_path):
    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmtvr.files.os.replace', fail)
    with pytest.raises(OSError, match='No space left'):
        run()
    assert not list((tmp_path / 'out').rglob('*.*'))
