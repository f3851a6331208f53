import json
import multiprocessing

import numpy as np
import pytest

from mmtvr.datasets.moving_shapes import MovingShapesDataset, generation
from mmtvr.datasets.moving_shapes.generation import (
    ensure_moving_shapes,
    write_video,
)
from mmtvr.datasets.moving_shapes.scene import draw_frames, draw_scene
from mmtvr.errors import SetupError
from mmtvr.video import DecordReader


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_same_seed_gives_the_same_files(tmp_path):
    one = ensure_moving_shapes(tmp_path / 'a', 'train', 4, 0)
    two = ensure_moving_shapes(tmp_path / 'b', 'train', 4, 0)
    assert contents(one) == contents(two)
    assert len(list((one / 'videos').iterdir())) == 4


def test_seed_and_split_change_the_captions(tmp_path):
    texts = {
        (ensure_moving_shapes(tmp_path / f'{seed}', split, 2, seed))
        .joinpath('annotations.json')
        .read_text()
        for seed in (0, 1)
        for split in ('train', 'test')
    }
    assert len(texts) == 4


def test_drawn_split_is_not_drawn_again(tmp_path, monkeypatch):
    folder = ensure_moving_shapes(tmp_path, 'test', 2, 0)
    monkeypatch.setattr(generation, 'draw_frames', None)
    assert ensure_moving_shapes(tmp_path, 'test', 2, 0) == folder


def test_other_settings_are_refused_and_named(tmp_path):
    ensure_moving_shapes(tmp_path, 'test', 2, 0)
    with pytest.raises(SetupError, match="'num_videos': 3") as error:
        ensure_moving_shapes(tmp_path, 'test', 3, 0)
    assert str(tmp_path / 'test') in str(error.value)


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / 'test').mkdir()
    with pytest.raises(SetupError, match='something else'):
        ensure_moving_shapes(tmp_path, 'test', 2, 0)


def test_interruption_leaves_nothing_half_made(tmp_path, monkeypatch):
    def interrupt(path, frames):
        if path.name == 'video2.mp4':
            raise KeyboardInterrupt
        write_video(path, frames)

    monkeypatch.setattr(generation, 'write_video', interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensure_moving_shapes(tmp_path, 'test', 4, 0)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    monkeypatch.undo()
    folder = ensure_moving_shapes(tmp_path, 'test', 4, 0)
    assert len(list((folder / 'videos').iterdir())) == 4


def test_remains_of_a_killed_process_are_removed(tmp_path):
    remains = tmp_path / '.test-unfinished'
    remains.mkdir()
    (remains / 'videos').mkdir()
    folder = ensure_moving_shapes(tmp_path, 'test', 2, 0)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_processes_that_start_at_once_share_one_drawing(tmp_path):
    with multiprocessing.get_context('fork').Pool(2) as pool:
        folders = pool.starmap(
            ensure_moving_shapes, [(tmp_path, 'test', 4, 0)] * 4
        )
    assert set(folders) == {tmp_path / 'test'}
    assert len(list((tmp_path / 'test/videos').iterdir())) == 4


def test_video_file_keeps_each_frame(tmp_path):
    rng = np.random.default_rng(0)
    frames = draw_frames(draw_scene(rng), rng)
    write_video(tmp_path / 'video.mp4', frames)
    reader = DecordReader(tmp_path / 'video.mp4')
    assert len(reader) == len(frames)
    order = np.random.default_rng(1).permutation(len(frames))
    gap = reader.get_frames(order).astype(int) - frames[order]
    assert np.abs(gap).mean() < 8


def test_dataset_reads_what_was_drawn(tmp_path):
    settings = dict(
        data_root=str(tmp_path), num_videos=4, serialize_data=False
    )
    train = MovingShapesDataset(**settings, captions='random')
    test = MovingShapesDataset(**settings, split='test', test_mode=True)
    captions = json.loads((tmp_path / 'test/annotations.json').read_text())
    assert len(train) == len(test) == 4
    assert test[3]['text'] == captions['video3.mp4']
    assert len(test[3]['text']) == 3
    assert isinstance(train[0]['text'], str)
    assert test.metainfo['dataset_type'] == 'moving_shapes'
