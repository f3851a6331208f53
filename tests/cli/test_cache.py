"""tools/data/cache.py: fills, resumes, announces, refuses, reports."""

import csv
import shutil

import pytest

from mmtvr.cli import cache as fill_cache
from mmtvr.errors import SetupError

CONFIG = """
default_scope = 'mmtvr'
train_dataloader = dict(
    dataset=dict(
        type='mmengine.RepeatDataset',
        times=2,
        dataset=dict(
            type='mmtvr.TextVideoDataset',
            data_root={root!r},
            ann_file='train_9k.json',
            pipeline=[
                dict(
                    type='mmtvr.LoadVideoFrames',
                    num_frames=3,
                    cache=dict(folder={folder!r}, reserve_gb=0)),
                dict(type='mmtvr.TokenizeText', tokenizer='/not/there')])))
test_dataloader = dict(
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root={root!r},
        ann_file='test_JSFUSION.json',
        test_mode=True,
        pipeline=[dict(type='mmtvr.LoadVideoFrames', test_mode=True)]))
"""


@pytest.fixture
def data(tiny_videos, tmp_path, monkeypatch):
    """A data root of its own, and the folder of the cache."""
    monkeypatch.setattr('mmtvr.video.cache.SETTLED_AFTER', -1e9)
    root = shutil.copytree(tiny_videos, tmp_path / 'data')
    config = CONFIG.format(root=str(root), folder=str(tmp_path / 'cache'))
    (tmp_path / 'config.py').write_text(config)
    return root


@pytest.fixture
def run(tmp_path, data):
    def run(*extra, split='train'):
        config = str(tmp_path / 'config.py')
        arguments = [config, '--split', split, '--workers', '0', *extra]
        fill_cache.fill_cache(fill_cache.parse_args(arguments))

    return run


def test_each_video_is_decoded_once_and_then_there(run, capsys, monkeypatch):
    run()
    said = capsys.readouterr().out
    assert 'train: 5 videos' in said
    assert '5 videos to decode into' in said
    assert '5 videos are in the cache' in said
    monkeypatch.setattr(fill_cache, 'fill', None)
    run()
    assert 'to decode' not in capsys.readouterr().out


def test_announced_size_is_what_it_takes(run, capsys, tmp_path):
    run()
    size = sum(p.stat().st_size for p in (tmp_path / 'cache').glob('??/*'))
    said = capsys.readouterr().out
    announced = float(said.partition('about ')[2].split()[0])
    assert announced == pytest.approx(size / 1e6, abs=0.06)


def test_it_goes_on_after_a_stop(run, capsys, monkeypatch):
    done = []

    def stop_after_two(job, fill=fill_cache.fill):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job)
        return fill(job)

    with monkeypatch.context() as patch:
        patch.setattr(fill_cache, 'fill', stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            run()
    capsys.readouterr()
    run()
    said = capsys.readouterr().out
    assert '3 videos to decode into' in said
    assert '5 videos are in the cache' in said


def test_too_small_a_disk_is_refused_before_anything_is_written(
    run, monkeypatch, tmp_path
):
    monkeypatch.setattr(fill_cache, 'free_bytes', lambda folder: 1000)
    with pytest.raises(SetupError, match=r"Free some space.*coding='jpeg'"):
        run()
    assert not list((tmp_path / 'cache').glob('??/*'))


def test_limit_of_the_cache_counts(run):
    limit = 'train_dataloader.dataset.dataset.pipeline.0.cache.limit_gb=1e-6'
    with pytest.raises(SetupError, match=r'0.0 MB may be used'):
        run('--cfg-options', limit)


def test_unreadable_videos_are_counted_and_listed(run, data, tmp_path):
    (data / 'videos' / 'video1.mp4').write_bytes(b'no video')
    with pytest.raises(SetupError, match='1 videos cannot be read'):
        run()
    with (tmp_path / 'cache' / 'unreadable.csv').open() as file:
        _header, (path, problem) = csv.reader(file)
    assert path.endswith('video1.mp4')
    assert problem
    (data / 'videos' / 'video1.mp4').unlink()
    with pytest.raises(SetupError, match=r'not in .*video1\.mp4'):
        run()


def test_full_disk_ends_the_command(run, monkeypatch, tmp_path):
    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmtvr.files.os.replace', fail)
    with pytest.raises(SetupError, match='takes nothing more'):
        run()


def test_config_without_a_cache_is_told_how_to_set_one(run):
    with pytest.raises(SetupError, match=r'no frame cache is set for test'):
        run(split='test')
