"""A folder with one file of each kind of damage, trained and tested on."""

import csv
import json
import os
import re
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from mmtvr.config import load_config
from mmtvr.config.preflight import build_runner, check_runner
from mmtvr.errors import SetupError
from mmtvr.video.decoder_process import end_decoder_process

STUBS = Path(__file__).parents[1] / 'video'
READER = 'stub_readers.EvilReader'


def write_sound(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format='fltp', layout='mono'
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture(scope='module')
def damaged(tiny_videos, tmp_path_factory):
    """Five good videos with three captions, seven damaged ones with one."""
    root = tmp_path_factory.mktemp('damaged')
    shutil.copytree(tiny_videos, root, dirs_exist_ok=True)
    folder = root / 'videos'
    whole = (folder / 'video0.mp4').read_bytes()
    bad = dict(
        empty=b'',
        text=b'this is no video\n' * 100,
        truncated=whole[: len(whole) // 2],
        header_only=whole[:32],
        holds=whole,
        segfaults=whole,
    )
    for name, content in bad.items():
        (folder / f'{name}.mp4').write_bytes(content)
    write_sound(folder / 'sound_only.mp4')
    names = sorted(f'{name}.mp4' for name in [*bad, 'sound_only'])
    for split in ('train_9k', 'test_JSFUSION'):
        path = root / f'{split}.json'
        content = json.loads(path.read_text())
        content |= {name: [f'a red {name}'] for name in names}
        path.write_text(json.dumps(content))
    return root, names


@pytest.fixture(scope='module')
def options(damaged):
    """What the tiny config needs to read that folder."""
    root, _ = damaged
    changes = {'train_cfg.max_epochs': 1}
    for loader in ('train', 'val', 'test'):
        dataset = f'{loader}_dataloader.dataset'
        changes |= {
            f'{dataset}.data_root': str(root),
            f'{dataset}.pipeline.0.reader.type': READER,
            f'{dataset}.pipeline.0.time_limit': 2.0,
        }
    return changes


@pytest.fixture
def build(tiny_config, options, tmp_path, monkeypatch):
    """A runner in this process, checked as the tools do."""
    end_decoder_process()
    monkeypatch.syspath_prepend(STUBS)

    def build(stage, **more):
        more = {key.replace('__', '.'): v for key, v in more.items()}
        work_dir = str(tmp_path / 'work')
        cfg = load_config(str(tiny_config), options | more, work_dir)
        cfg.experiment_name = f'{tmp_path.name}_{len(more)}'
        if stage == 'train':
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        runner = build_runner(cfg)
        check_runner(runner, stage)
        return runner

    yield build
    end_decoder_process()


def read_list(folder):
    with (folder / 'unreadable_videos.csv').open(newline='') as file:
        return {
            os.path.basename(row['file']): (row['reason'], int(row['times']))
            for row in csv.DictReader(file)
        }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == 'win32', reason='helpers need POSIX')
def test_training_lists_each_kind_of_damage(
    fork_tool, tiny_config, damaged, options, tmp_path
):
    hooks = load_config(str(tiny_config)).custom_hooks
    place = [hook.type for hook in hooks].index('mmtvr.UnreadableVideosHook')
    more = {
        f'custom_hooks.{place}.max_share': 0.9,
        'train_dataloader.num_workers': 2,
        'train_dataloader.persistent_workers': True,
    }
    done = fork_tool(
        'train.py',
        tiny_config,
        '--no-validate',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *(f'{key}={value}' for key, value in (options | more).items()),
        path=STUBS,
    )
    found = read_list(tmp_path)
    assert sorted(found) == damaged[1]
    assert found['holds.mp4'][0] == 'gave up after 2 s (time_limit)'
    assert 'SIGSEGV' in found['segfaults.mp4'][0]
    # 15 good and 7 damaged samples; all 22 came, and more in their place.
    times = sum(count for _, count in found.values())
    (line,) = re.findall(r'Epoch 1: (\d+) of (\d+) samples', done.stdout)
    assert tuple(map(int, line)) == (times, 22 + times)
    assert times >= 7
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert 'unreadable       7 videos' in done.stdout


@pytest.mark.slow
def test_more_than_the_allowed_share_stops_the_run(build, damaged, tmp_path):
    runner = build('train')
    with pytest.raises(SetupError, match=r'more than the 1\.00% allowed') as e:
        runner.train()
    found = read_list(tmp_path / 'work')
    assert set(found) <= set(damaged[1])
    assert len(re.findall(r'\.mp4: ', str(e.value))) == min(len(found), 5)


def test_evaluation_refuses_before_the_first_batch(build, damaged):
    with pytest.raises(SetupError, match='7 of 12 videos') as caught:
        build('test')
    assert 'skip_unreadable=True' in str(caught.value)
    assert 'empty.mp4: ' in str(caught.value)


def test_evaluation_tells_what_it_left_out(build, damaged, tmp_path, capfd):
    runner = build(
        'test',
        test_dataloader__dataset__skip_unreadable=True,
        test_evaluator=[
            dict(type='mmtvr.TextVideoRecall'),
            dict(type='mmtvr.RetrievalReport', out_dir=str(tmp_path)),
        ],
    )
    metrics = runner.test()
    assert np.isfinite(metrics['retrieval/R1'])
    told = '7 of 12 videos and 7 of 16 captions'
    printed = capfd.readouterr()
    assert f'9 texts, 5 videos; left out: {told}' in printed.out
    assert f'left out  {told}' in (tmp_path / 'report.txt').read_text()
