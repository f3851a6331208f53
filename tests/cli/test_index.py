"""``mmtvr index`` and ``mmtvr search`` as commands, on moving shapes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmtvr.apis import evaluate
from mmtvr.cli.index import WHEN_STOPPED
from mmtvr.cli.main import main
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.search.stores import open_store

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/clip4clip_moving_shapes.py')
ENVIRONMENT = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
VIDEOS = 6


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    return str(ensure_moving_shapes(root, 'test', VIDEOS, 0))


@pytest.fixture
def command(capsys):
    """Function that runs a command and returns its status and JSON."""

    def run(*arguments):
        capsys.readouterr()
        status = main([str(each) for each in (*arguments, '--json')])
        return status, json.loads(capsys.readouterr().out or 'null')

    return run


@pytest.fixture
def index(command, shapes):
    """Function that indexes the shapes into a place."""

    def run(into, *options):
        model = (CONFIG, shapes, '--checkpoint', 'none')
        return command('index', *model, '--into', into, *options)

    return run


def test_reports_and_results_are_json_also_in_8_bits(
    index, command, shapes, tmp_path
):
    answers = {}
    for precision in ('float16', 'int8'):
        into = tmp_path / precision
        status, report = index(into, '--precision', precision)
        assert status == 0
        assert (report['videos'], report['encoded']) == (VIDEOS, VIDEOS)
        assert report['unreadable'] == {}
        assert open_store(into).read_info()['precision'] == precision
        status, (answer,) = command('search', into, 'a red circle rising')
        assert status == 0
        assert answer['query'] == 'a red circle rising'
        answers[precision] = answer['results']
    for one, other in zip(*answers.values(), strict=True):
        assert one['score'] == pytest.approx(other['score'], abs=2e-3)
    ranks = [each['rank'] for each in answers['int8']]
    assert ranks == list(range(1, VIDEOS + 1))
    paths = {each['path'] for each in answers['int8']}
    assert paths == {str(p) for p in Path(shapes, 'videos').glob('*.mp4')}
    bits = [
        sum(f.stat().st_size for f in (tmp_path / p).rglob('*.lance'))
        for p in answers
    ]
    assert bits[1] < bits[0]


def test_remove_takes_files_out_and_leaves_them_where_they_are(
    index, command, shapes, tmp_path, capsys
):
    into = tmp_path / 'index'
    index(into)
    video = Path(shapes, 'videos/video2.mp4')
    removal = ('index', '--into', into, '--remove', video)
    assert command(*removal) == (0, {'removed': 1})
    assert video.is_file()
    assert open_store(into).count_videos() == VIDEOS - 1
    assert main([str(each) for each in removal]) == 1
    assert 'none of' in capsys.readouterr().err


def test_an_export_with_captions_is_searched_and_evaluated_as_the_index_is(
    index, command, shapes, tmp_path
):
    into, file = tmp_path / 'index', tmp_path / 'features.npz'
    index(into)
    annotation = Path(shapes, 'annotations.json')
    export = ('index', '--into', into, '--export', file)
    status, report = command(*export, '--captions', annotation)
    assert (status, report['exported']) == (0, VIDEOS)
    imported = tmp_path / 'imported'
    assert command('index', '--into', imported, '--import', file)[0] == 0
    _, by_vector = command('search', imported, '--vectors', file)
    texts = [answer['query'] for answer in by_vector]
    _, by_text = command('search', into, *texts)
    assert len(texts) == report['captions'] > VIDEOS
    hits = 0
    owners = np.load(file)['videos'][np.load(file)['text_video_ids']]
    for owner, one, other in zip(owners, by_text, by_vector, strict=True):
        scores = [[r['score'] for r in a['results']] for a in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=4e-3)
        hits += other['results'][0]['path'] == owner
    (row,) = evaluate(file).rows
    assert row.t2v.measures['R1'] == pytest.approx(100 * hits / len(texts))


def test_captions_of_videos_that_are_not_indexed_are_not_left_out(
    index, command, shapes, tmp_path, capsys
):
    into = tmp_path / 'index'
    index(into)
    command('index', '--into', into, '--remove', f'{shapes}/videos/video2.mp4')
    annotation = Path(shapes, 'annotations.json')
    export = ('index', '--into', into, '--export', tmp_path / 'features.npz')
    arguments = [str(a) for a in (*export, '--captions', annotation)]
    assert main(arguments) == 1
    assert f'1 of {VIDEOS} videos with captions' in capsys.readouterr().err
    assert not (tmp_path / 'features.npz').exists()


# The bar is drawn anew every tenth of a second; a shell starts what it puts
# into the background deaf to the keyboard.
WAIT_AT_THE_FIFTH = """
import itertools, runpy, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from mmtvr.datasets.transforms.video import LoadVideoFrames
calls, load = itertools.count(1), LoadVideoFrames.transform
def load_or_wait(self, results):
    time.sleep(0.2)
    while next(calls) >= 5:
        time.sleep(0.2)
    return load(self, results)
LoadVideoFrames.transform = load_or_wait
runpy.run_module('mmtvr', run_name='__main__', alter_sys=True)
"""


@pytest.mark.slow
def test_stopped_from_the_keyboard_leaves_an_index_that_goes_on(
    command, tmp_path
):
    videos, into = 24, tmp_path / 'index'
    shapes = str(ensure_moving_shapes(tmp_path, 'test', videos, 0))
    config = tmp_path / 'in_small_batches.py'
    config.write_text(
        f'_base_ = {CONFIG!r}\ntest_dataloader = dict(batch_size=1)\n'
    )
    model = ('index', config, shapes, '--checkpoint', 'none', '--into', into)
    with subprocess.Popen(
        [sys.executable, '-c', WAIT_AT_THE_FIFTH, *map(str, model)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        told = b''
        while not re.search(rb'\| [1-9]\d*/%d' % videos, told):
            byte = process.stderr.read(1)
            assert byte, told.decode()
            told += byte
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    # The model, and no report.
    assert out.startswith(b'model: ')
    assert out.count(b'\n') == 1
    assert err.decode().splitlines()[-1] == f'stopped; {WHEN_STOPPED}'
    assert b'Traceback' not in err
    _, (answer,) = command(
        'search', into, 'a red circle rising', '--top-k', videos
    )
    done = len(answer['results'])
    assert 1 <= done < videos
    _, report = command(*model)
    assert (report['unchanged'], report['encoded']) == (done, videos - done)


def test_a_file_that_opens_and_cannot_be_decoded_is_remembered(
    command, shapes, tmp_path, monkeypatch
):
    tried = []
    load = LoadVideoFrames.transform

    def transform(self, sample):
        tried.append(Path(sample['filename']).name)
        return load(self, sample)

    monkeypatch.setattr(LoadVideoFrames, 'transform', transform)
    good, bad = (tmp_path / name for name in ('good.mp4', 'bad.mp4'))
    whole = Path(shapes, 'videos/video0.mp4').read_bytes()
    good.write_bytes(whole)
    # Between the headers, which stay, all pictures are overwritten.
    start, end = whole.index(b'mdat') + 4, whole.index(b'moov') - 4
    bad.write_bytes(whole[:start] + bytes(end - start) + whole[end:])
    model = (CONFIG, tmp_path, '--checkpoint', 'none')
    index = ('index', *model, '--into', tmp_path / 'index')
    _, report = command(*index)
    assert sorted(tried) == ['bad.mp4', 'good.mp4']
    assert (report['videos'], report['skipped']) == (1, 0)
    (reason,) = report['unreadable'].values()
    assert reason == 'it holds no frame'
    tried.clear()
    os.utime(bad)
    _, report = command(*index)
    assert (tried, report['skipped']) == ([], 1)
    assert report['unreadable'] == {str(bad): reason}
    _, report = command(*index, '--retry')
    assert (tried, report['skipped']) == (['bad.mp4'], 0)
    bad.write_bytes(whole)
    _, report = command(*index)
    assert (report['unreadable'], report['reused']) == ({}, 1)


@pytest.mark.slow
def test_two_processes_share_the_encoding_of_one_index(
    index, shapes, tmp_path
):
    alone, shared = tmp_path / 'alone', tmp_path / 'shared'
    index(alone)
    # LanceDB, which this process has used, may hang in a fork.
    launcher = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node',
        '2',
        '-m',
        'mmtvr',
        'index',
        CONFIG,
        shapes,
        '--checkpoint',
        'none',
        '--json',
    ]
    done = subprocess.run(
        [*launcher, '--into', shared],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report['videos'], report['encoded']) == (VIDEOS, VIDEOS)
    one, other = map(open_store, (alone, shared))
    assert set(one.list_files()) == set(other.list_files())
    contents = sorted(one.list_contents())
    assert sorted(other.list_contents()) == contents
    first, second = one.read_videos(contents), other.read_videos(contents)
    assert first.pooled == pytest.approx(second.pooled, abs=2e-3)
