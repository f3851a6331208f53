"""tools/data/verify.py: all that is wrong with the videos of a config."""

import json
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import av
import numpy as np
import pytest

from mmtvr.cli.verify import parse_args, verify_config
from mmtvr.datasets import verification
from mmtvr.errors import SetupError
from mmtvr.video.decoder_process import end_decoder_process

ROOT = Path(__file__).resolve().parents[2]
STUBS = ROOT / 'tests' / 'video'
CONFIG = """
default_scope = 'mmtvr'
load = dict(
    type='mmtvr.LoadVideoFrames', num_frames=8, short_side=32,
    reader=dict(type='stub_readers.EvilReader'))
rest = [dict(type='mmtvr.TokenizeText', tokenizer='/nowhere')]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root='{root}',
        ann_file='train_9k.json',
        pipeline=[load, *rest]))
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type='RepeatDataset',
        times=1,
        dataset=dict(
            type='mmtvr.TextVideoDataset',
            data_root='{root}',
            ann_file='test_JSFUSION.json',
            pipeline=[dict(load, test_mode=True), *rest],
            test_mode=True)))
test_dataloader = val_dataloader
"""


def write_video(path, colours, rate=10, side=48, **options):
    """Write one frame per colour; None is noise."""
    noise = np.random.default_rng(len(colours))
    with av.open(str(path), 'w', options=options) as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.width = stream.height = side
        stream.pix_fmt = 'yuv420p'
        for colour in colours:
            image = noise.integers(0, 255, (side, side, 3), np.uint8)
            if colour is not None:
                image[:] = colour
            frame = av.VideoFrame.from_ndarray(image, format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two good videos for training and one for the test; more to be added."""
    end_decoder_process()
    monkeypatch.syspath_prepend(STUBS)
    root = tmp_path / 'root'
    (root / 'videos').mkdir(parents=True)
    for number in range(3):
        path = root / 'videos' / f'good{number}.mp4'
        write_video(path, [None] * (20 + number))
    annotate(root, 'train_9k', ['good0', 'good1'])
    annotate(root, 'test_JSFUSION', ['good2'])
    (root / 'config.py').write_text(CONFIG.format(root=root))
    yield root
    end_decoder_process()


def annotate(root, split, names, **span):
    path = root / f'{split}.json'
    old = json.loads(path.read_text())['videos'] if path.is_file() else []
    videos = [
        dict(file=f'{name}.mp4', captions=[f'a {name}'], **span)
        for name in names
    ]
    path.write_text(json.dumps(dict(videos=old + videos)))


def verify(root, *flags):
    """Run it; returns whether all is well, and the findings by name."""
    words = [str(root / 'config.py'), '--report', str(root / 'report')]
    clean = verify_config(parse_args([*words, *flags]))
    report = json.loads((root / 'report.json').read_text())
    found = {
        Path(file).stem: [tuple(each.values()) for each in row['findings']]
        for file, row in report['files'].items()
    }
    return clean, found, report


def test_a_clean_config_has_no_findings(folder, capsys):
    clean, found, report = verify(folder)
    assert clean
    assert found == {}
    train, test = report['datasets']
    assert train['dataset'] == 'train (train_9k.json)'
    assert (train['videos'], train['captions']) == (2, 2)
    assert test['dataset'] == 'val, test (test_JSFUSION.json)'
    assert '3 files: 0 with errors, 0 with warn' in capsys.readouterr().out


def test_each_kind_of_fault_is_found(folder):
    videos = folder / 'videos'
    (videos / 'empty.mp4').touch()
    (videos / 'text.mp4').write_text('no video' * 100)
    write_video(videos / 'black.mp4', [0] * 30)
    write_video(videos / 'few.mp4', [None] * 5)
    write_video(videos / 'cut.mp4', [None] * 60, movflags='faststart')
    whole = (videos / 'cut.mp4').read_bytes()
    (videos / 'cut.mp4').write_bytes(whole[: len(whole) // 2])
    for name in ('segfaults', 'twin', 'late', 'brief'):
        shutil.copy(videos / 'good2.mp4', videos / f'{name}.mp4')
    with (videos / 'late.mp4').open('ab') as file:
        file.write(b'\0')
    with (videos / 'brief.mp4').open('ab') as file:
        file.write(b'\0\0')
    with (videos / 'segfaults.mp4').open('ab') as file:
        file.write(b'\0\0\0')
    names = ['gone', 'empty', 'text', 'black', 'few', 'cut', 'segfaults']
    annotate(folder, 'train_9k', [*names, 'twin'])
    annotate(folder, 'train_9k', ['late'], start=60, end=70)
    annotate(folder, 'train_9k', ['brief'], start=0.5, end=1)
    clean, found, report = verify(folder)
    assert not clean
    assert found['gone'] == [('missing', 'there is no such file')]
    assert found['empty'] == [('unreadable', 'the file is empty')]
    assert [kind for kind, _ in found['text']] == ['unreadable']
    assert found['black'] == [('suspicious', 'all inspected frames are black')]
    assert found['few'] == [
        ('short', '5 frames, 8 are asked for'),
    ]
    assert tuple(k for k, _ in found['cut']) == ('unreadable', 'suspicious')
    assert 'its header reports 60 frames, not' in found['cut'][1][1]
    assert 'SIGSEGV' in found['segfaults'][0][1]
    assert 'the span begins at 60.0 s' in found['late'][0][1]
    assert found['brief'] == [
        ('short', '5 frames from 0.5 s to 1 s, 8 are asked for')
    ]
    (twin,), (good,) = found['twin'], found['good2']
    assert twin[0] == good[0] == 'duplicate'
    assert twin[1].endswith('good2.mp4; LEAK: in train and in val and test')
    assert set(found) == {*names, 'late', 'brief', 'twin', 'good2'}
    counts = report['datasets'][0]
    assert [counts[k] for k in ('missing', 'unreadable', 'short')] == [1, 5, 2]
    assert 'gone.mp4: there is no such' in (folder / 'report.txt').read_text()
    assert not verify(folder, '--ignore', 'short', 'missing')[0]
    assert verify(folder, '--ignore', 'unreadable', 'missing')[0]


def test_warnings_are_reported_and_fail_on_demand(folder, capsys):
    write_video(folder / 'videos' / 'few.mp4', [None] * 6)
    annotate(folder, 'test_JSFUSION', ['few'])
    assert verify(folder)[0]
    shown = capsys.readouterr().out
    assert 'few.mp4: 6 frames, 8 are asked for' in shown
    assert '4 files: 0 with errors, 1 with warnings' in shown
    clean, found, _ = verify(folder, '--strict')
    assert not clean
    assert set(found) == {'few'}
    assert verify(folder, '--strict', '--ignore', 'short')[0]


def test_the_same_file_in_train_and_test_is_a_leak(folder):
    annotate(folder, 'test_JSFUSION', ['good0'])
    found = verify(folder)[1]
    what = 'the same file; LEAK: in train and in val and test'
    assert found == {'good0': [('duplicate', what)]}


@pytest.fixture
def examined(monkeypatch):
    """Names of the files that are really looked at."""
    names = []
    real = verification.examine_file

    def examine(path, *arguments):
        names.append(Path(path).stem)
        return real(path, *arguments)

    monkeypatch.setattr(verification, 'examine_file', examine)
    return names


def test_only_what_changed_is_examined_again(folder, examined):
    verify(folder)
    assert sorted(examined) == ['good0', 'good1', 'good2']
    del examined[:]
    write_video(folder / 'videos' / 'good1.mp4', [None] * 4)
    assert set(verify(folder)[1]) == {'good1'}
    assert examined == ['good1']
    del examined[:]
    verify(folder, '--refresh')
    assert len(examined) == 3


def test_a_killed_run_goes_on_where_it_was(folder, examined, fork):
    shutil.copy(folder / 'videos/good0.mp4', folder / 'videos/blocks.mp4')
    annotate(folder, 'test_JSFUSION', ['blocks'])
    journal = folder / 'report.sqlite'
    process = fork(lambda: verify(folder), PYTHONPATH=str(STUBS))
    end = time.monotonic() + 60
    while count_rows(journal) < 3 and time.monotonic() < end:
        time.sleep(0.05)
    process.kill()
    assert process.finish(check=False).returncode == -signal.SIGKILL
    assert count_rows(journal) == 3
    (folder / 'videos/blocks.mp4').unlink()
    # good0 is examined again: it may have had an equal.
    assert set(verify(folder)[1]) == {'blocks'}
    assert sorted(examined) == ['blocks', 'good0']


def count_rows(journal):
    try:
        with sqlite3.connect(journal) as base:
            return base.execute('SELECT COUNT(*) FROM checked').fetchone()[0]
    except sqlite3.Error:
        return 0


def test_files_outside_the_folder_are_not_opened(folder, examined):
    (folder.parent / 'secret.mp4').write_bytes(b'x')
    annotate(folder, 'train_9k', ['../../secret'])
    found = verify(folder)[1]
    assert found['secret'][0][0] == 'unreadable'
    assert '".." in its path' in found['secret'][0][1]
    assert 'secret' not in examined


def test_the_old_name_of_refresh_is_taken_with_a_warning(folder):
    with pytest.warns(DeprecationWarning, match='--refresh'):
        assert parse_args([str(folder), '--anew']).refresh


def test_a_config_without_our_data_sets_is_one_message(folder):
    (folder / 'config.py').write_text('default_scope = "mmtvr"')
    with pytest.raises(SetupError, match=r'no data set .* none at all'):
        verify(folder)
