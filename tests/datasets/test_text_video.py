"""The dataset: what a sample is, and what is refused before any work."""

import json
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate, worker_init_fn
from torch.utils.data import DataLoader

from mmtvr.datasets.unreadable_videos import ReplacedSamples
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS
from mmtvr.search.video_files import find_videos


def build(root, **options):
    defaults = dict(
        type='mmtvr.TextVideoDataset',
        data_root=str(root),
        ann_file='train_9k.json',
    )
    return DATASETS.build({**defaults, **options})


def test_training_sample_is_one_caption_with_its_video(tiny_videos):
    dataset = build(tiny_videos)
    assert len(dataset) == 15
    sample = dataset[4]
    assert sample['filename'] == str(tiny_videos / 'videos' / 'video1.mp4')
    assert sample['text'] == 'a young cat eats red apples'
    assert sample['video_id'] == 1
    assert sample['sample_idx'] == 4


def test_test_sample_is_a_video_with_all_its_captions(tiny_videos):
    dataset = build(tiny_videos, ann_file='test_JSFUSION.json', test_mode=True)
    counts = [len(dataset[i]['text']) for i in range(len(dataset))]
    assert counts == [1, 2, 3, 1, 2]
    assert dataset[1]['text'] == [
        'a young cat runs over the grass',
        'a young cat eats red apples',
    ]
    assert [dataset[i]['video_id'] for i in range(5)] == [0, 1, 2, 3, 4]


def test_random_caption_is_drawn_anew_at_each_access(tiny_videos):
    dataset = build(tiny_videos, captions='random')
    assert len(dataset) == 5
    np.random.seed(0)
    drawn = {dataset[2]['text'] for _ in range(40)}
    assert len(drawn) == 3
    assert all(text.startswith('a white horse') for text in drawn)
    np.random.seed(1)
    first = [dataset[2]['text'] for _ in range(8)]
    np.random.seed(1)
    assert [dataset[2]['text'] for _ in range(8)] == first


def test_unknown_caption_option_is_refused(tiny_videos):
    with pytest.raises(ValueError, match="'all' or 'random'"):
        build(tiny_videos, captions='some')


def test_indices_and_subset_keep_the_video_ids(tiny_videos):
    dataset = build(tiny_videos, indices=[14, 0])
    assert [dataset[i]['video_id'] for i in range(2)] == [4, 0]
    subset = build(tiny_videos).get_subset([3, 9])
    assert [subset[i]['video_id'] for i in range(2)] == [1, 3]


def test_time_spans_enter_the_pipeline(tiny_videos, tmp_path):
    videos = [
        dict(file='video0.mp4', captions=['x'], start=1.0, end=2.5),
        dict(file='video0.mp4', captions=['y'], start=0),
    ]
    path = tmp_path / 'spans.json'
    path.write_text(json.dumps({'videos': videos}))
    dataset = build(tiny_videos, ann_file=str(path), test_mode=True)
    assert (dataset[0]['start'], dataset[0]['end']) == (1.0, 2.5)
    assert dataset[1]['start'] == 0
    assert 'end' not in dataset[1]
    assert dataset[1]['video_id'] == 1


def test_missing_videos_folder_is_named_with_the_way_out(tiny_videos):
    with pytest.raises(SetupError, match=r'no folder of videos .*elsewhere'):
        build(tiny_videos, data_prefix=dict(video='elsewhere'))


@pytest.mark.parametrize('test_mode', [False, True])
def test_missing_files_are_counted_and_listed(
    tiny_videos, tmp_path, test_mode
):
    content = json.loads((tiny_videos / 'train_9k.json').read_text())
    content.update({f'gone{i}.mp4': ['x'] for i in range(7)})
    path = tmp_path / 'more.json'
    path.write_text(json.dumps(content))
    options = dict(ann_file=str(path), test_mode=test_mode)
    with pytest.raises(SetupError, match=r'7 of 12 videos.*gone0.mp4') as info:
        build(tiny_videos, **options)
    assert 'gone5.mp4' not in str(info.value)
    dataset = build(tiny_videos, skip_missing=True, **options)
    assert len(dataset) == (5 if test_mode else 15)


def test_all_files_missing_is_an_error_even_when_skipping(
    tiny_videos, tmp_path
):
    path = tmp_path / 'gone.json'
    path.write_text(json.dumps({'gone.mp4': ['x']}))
    with pytest.raises(SetupError, match='None of the videos'):
        build(tiny_videos, ann_file=str(path), skip_missing=True)


class RecordCaptions:
    """Stand-in for a transform that learns from all captions."""

    def fit_captions(self, captions, ann_file):
        self.seen = (list(captions), ann_file)

    def __call__(self, results):
        return results


def test_transforms_are_shown_all_captions_once(tiny_videos):
    recorder = RecordCaptions()
    build(tiny_videos, pipeline=[recorder], indices=2)
    captions, ann_file = recorder.seen
    assert len(captions) == 15
    assert ann_file == str(tiny_videos / 'train_9k.json')


def test_unreadable_video_is_replaced_in_training(tiny_videos, tmp_path):
    root = tmp_path / 'root'
    shutil.copytree(tiny_videos, root)
    (root / 'videos' / 'video1.mp4').write_bytes(b'no video at all')
    load = dict(type='mmtvr.LoadVideoFrames', num_frames=2)
    pack = dict(type='mmtvr.PackTextVideo')
    dataset = build(root, pipeline=[load, pack])
    np.random.seed(0)
    sample = dataset[3]['data_samples']
    assert sample.video_id != 1
    reported = sample.unreadable_videos
    assert {file for file, _ in reported} == {
        str(root / 'videos' / 'video1.mp4')
    }
    assert 'unreadable_videos' not in dataset[0]['data_samples']


def test_skip_unreadable_is_refused_in_training(tiny_videos):
    with pytest.raises(SetupError, match='skip_unreadable=True needs test'):
        build(tiny_videos, skip_unreadable=True)


def test_a_test_set_with_unreadable_videos_is_refused(
    tiny_videos, tmp_path, monkeypatch
):
    root = tmp_path / 'root'
    shutil.copytree(tiny_videos, root)
    load = dict(type='mmtvr.LoadVideoFrames', num_frames=2, test_mode=True)
    options = dict(
        ann_file='test_JSFUSION.json', pipeline=[load], test_mode=True
    )
    assert 'left_out' not in build(root, **options).metainfo
    (root / 'videos' / 'video1.mp4').write_bytes(b'no video at all')
    with pytest.raises(SetupError, match=r'1 of 5 videos.*\n.*video1.mp4:'):
        build(root, **options)
    dataset = build(root, skip_unreadable=True, **options)
    assert [dataset[i]['video_id'] for i in range(4)] == [0, 2, 3, 4]
    assert dataset.metainfo['left_out'] == (
        '1 of 5 videos and 2 of 9 captions, whose files are missing or '
        'unreadable'
    )
    # What is known is not read again, not even in another process.
    monkeypatch.setattr(
        'mmtvr.datasets.transforms.LoadVideoFrames.find_problem', None
    )
    assert len(build(root, skip_unreadable=True, **options)) == 4


def test_a_folder_that_may_only_be_read_is_no_hindrance(
    tiny_videos, tmp_path, monkeypatch
):
    root = tmp_path / 'root'
    shutil.copytree(tiny_videos, root, ignore=lambda *_: ['.mmtvr_cache'])
    # In place of the folder of the cache, so that root cannot write either.
    (root / '.mmtvr_cache').touch()
    place = 'mmtvr.datasets.video_check.user_cache_path'
    load = dict(type='mmtvr.LoadVideoFrames', num_frames=2, test_mode=True)
    for name in ('cache', 'train_9k.json'):
        path = tmp_path / name if name == 'cache' else root / name
        monkeypatch.setattr(place, lambda _, path=path: path)
        assert len(build(root, pipeline=[load], test_mode=True)) == 5
    assert (tmp_path / 'cache' / 'checked_videos.sqlite').is_file()


def test_nothing_but_unreadable_videos_ends_soon(tiny_videos, tmp_path):
    root = tmp_path / 'root'
    shutil.copytree(tiny_videos, root)
    for video in (root / 'videos').iterdir():
        video.write_bytes(b'no video at all')
    load = dict(type='mmtvr.LoadVideoFrames', num_frames=2)
    dataset = build(root, pipeline=[load])
    with pytest.raises(SetupError, match='20 samples one after') as caught:
        dataset[0]
    assert str(caught.value).count('.mp4: ') == 5


def test_nothing_but_videos_that_take_long_ends_sooner(monkeypatch):
    now = [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    replaced = ReplacedSamples()
    for minute in range(1, 10):
        now[0] = 60.0 * minute
        replaced.account([], None if minute > 1 else {})
        if minute == 5:
            break
    with pytest.raises(SetupError, match='5 samples one after'):
        replaced.account([], None)


def full_pipeline(tiny_clip, **load):
    return [
        dict(type='mmtvr.LoadVideoFrames', num_frames=4, **load),
        dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False),
        dict(type='mmaction.FormatShape', input_format='NCHW'),
        dict(type='mmtvr.TagKeyWords'),
        dict(type='mmtvr.DropUnimportantWords'),
        dict(
            type='mmtvr.TokenizeText', tokenizer=str(tiny_clip), max_words=24
        ),
        dict(type='mmtvr.PackTextVideo'),
    ]


@pytest.mark.parametrize(
    ('context', 'workers'),
    [('fork', 2), pytest.param('spawn', 1, marks=pytest.mark.slow)],
)
def test_workers_load_whole_batches(tiny_videos, tiny_clip, context, workers):
    dataset = build(tiny_videos, pipeline=full_pipeline(tiny_clip))
    # Decoding in the parent first: readers must not survive the fork.
    assert dataset[0]['inputs']['frames'].shape == (4, 3, 32, 32)
    loader = DataLoader(
        dataset,
        batch_size=5,
        num_workers=workers,
        collate_fn=pseudo_collate,
        multiprocessing_context=context,
        worker_init_fn=partial(
            worker_init_fn, num_workers=workers, rank=0, seed=3
        ),
    )
    batches = list(loader)
    assert [len(batch['data_samples']) for batch in batches] == [5, 5, 5]
    ids = [s.video_id for batch in batches for s in batch['data_samples']]
    assert ids == sorted([0, 1, 2, 3, 4] * 3)
    for batch in batches:
        inputs = batch['inputs']
        assert {tuple(f.shape) for f in inputs['frames']} == {(4, 3, 32, 32)}
        assert {tuple(t.shape) for t in inputs['tokens']} == {(1, 24)}
        assert all((w > 1).any() for w in inputs['token_weight'])


def test_workers_differ_in_what_they_draw(tiny_videos):
    dataset = build(
        tiny_videos,
        indices=[0] * 8,
        pipeline=[dict(type='mmtvr.LoadVideoFrames', num_frames=4)],
    )
    loader = DataLoader(
        dataset,
        batch_size=1,
        num_workers=2,
        collate_fn=list,
        worker_init_fn=partial(worker_init_fn, num_workers=2, rank=0, seed=3),
    )
    drawn = [tuple(batch[0]['frame_inds']) for batch in loader]
    assert drawn[0] != drawn[1]
    assert drawn == [tuple(batch[0]['frame_inds']) for batch in loader]


def test_dataset_feeds_the_loading_transforms_of_mmaction2(tiny_videos):
    dataset = build(
        tiny_videos,
        pipeline=[
            dict(type='mmaction.DecordInit'),
            dict(type='mmaction.UniformSample', clip_len=3, num_clips=1),
            dict(type='mmaction.DecordDecode'),
            dict(type='mmaction.Resize', scale=(-1, 32)),
            dict(type='mmaction.FormatShape', input_format='NCHW'),
        ],
    )
    assert dataset[0]['imgs'].shape == (3, 3, 32, 48)


@pytest.mark.shared
def test_real_msrvtt_clips_pass_the_whole_pipeline(
    shared_dir, tiny_clip, tmp_path
):
    names = {
        'video9770.mp4': 'antmmf__msrvtt_video9770.mp4',
        'video9771.mp4': 'antmmf__msrvtt_video9771.mp4',
        'video7500.mp4': 'drl__msrvtt_video7500.mp4',
    }
    (tmp_path / 'videos').mkdir()
    for name, clip in names.items():
        (tmp_path / 'videos' / name).symlink_to(shared_dir / 'clips' / clip)
    archive = shared_dir / 'annotations/msrvtt/test_videodatainfo.json.zip'
    with zipfile.ZipFile(archive) as content:
        (info,) = [n for n in content.namelist() if n.endswith('info.json')]
        sentences = json.loads(content.read(info))['sentences']
    captions = {name: [] for name in names}
    for row in sentences:
        if f'{row["video_id"]}.mp4' in captions:
            captions[f'{row["video_id"]}.mp4'].append(row['caption'])
    (tmp_path / 'test.json').write_text(json.dumps(captions))
    dataset = build(
        tmp_path,
        ann_file='test.json',
        test_mode=True,
        allow_outside=True,
        pipeline=[
            dict(type='mmtvr.LoadVideoFrames', short_side=224, test_mode=True),
            dict(
                type='mmaction.Resize',
                scale=(-1, 224),
                interpolation='bicubic',
            ),
            dict(type='mmaction.CenterCrop', crop_size=224),
            dict(type='mmaction.FormatShape', input_format='NCHW'),
            dict(type='mmtvr.TagKeyWords'),
            dict(type='mmtvr.TokenizeText', tokenizer=str(tiny_clip)),
            dict(type='mmtvr.PackTextVideo'),
        ],
    )
    assert len(dataset) == 3
    for sample in dataset:
        inputs = sample['inputs']
        assert inputs['frames'].shape == (12, 3, 224, 224)
        assert inputs['frames'].float().std() > 10
        assert inputs['tokens'].shape == (20, 32)
        assert ((inputs['token_weight'] == 2).any(dim=1)).all()


def test_names_without_an_ending_are_those_of_the_one_video(
    tiny_videos, tmp_path, caplog
):
    root = tmp_path / 'data'
    shutil.copytree(tiny_videos, root)
    videos = root / 'videos'
    names = ['video0', 'play phone(0)', '-dQw4w9WgXcQ', 'v1.2', 'twice', 'no']
    for name in names[1:5]:
        shutil.copy(videos / 'video0.mp4', videos / f'{name}.mp4')
    shutil.copy(videos / 'video0.mp4', videos / 'twice.avi')
    ann_file = root / 'bare.json'
    ann_file.write_text(json.dumps({name: ['a dog'] for name in names[:4]}))
    dataset = build(root, ann_file='bare.json')
    files = [dataset[i]['filename'].rpartition('/')[2] for i in range(4)]
    assert files == [f'{name}.mp4' for name in names[:4]]
    found = find_videos([ann_file]).videos
    assert {v.path for v in found} == {str(videos / f) for f in files}
    ann_file.write_text(json.dumps({name: ['a dog'] for name in names[4:]}))
    with pytest.raises(SetupError, match='2 of 2 videos'):
        build(root, ann_file='bare.json')
