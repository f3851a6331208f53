"""LoadVideoFrames: which frames, at which size, and what follows it."""

import pickle

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS
from mmtvr.video.decoder_process import end_decoder_process
from mmtvr.video.sampling import sample_uniformly

CLIPS = [
    'antmmf__msrvtt_video9770.mp4',
    'antmmf__msrvtt_video9771.mp4',
    'drl__msrvtt_video7500.mp4',
]


def build(**options):
    return TRANSFORMS.build(dict(type='mmtvr.LoadVideoFrames', **options))


def load(path, extra=(), **options):
    return build(**options)(dict(filename=str(path), **dict(extra)))


@pytest.mark.parametrize('total', [12, 13, 24, 50, 331])
@pytest.mark.parametrize('num_frames', [1, 3, 12])
def test_random_sampling_draws_from_each_segment(total, num_frames):
    np.random.seed(0)
    draws = np.stack(
        [sample_uniformly(total, num_frames, True) for _ in range(400)]
    )
    for i, column in enumerate(draws.T):
        frames = {
            j
            for j in range(total)
            if i * total <= j * num_frames < (i + 1) * total
        }
        assert set(column) <= frames
        if len(frames) < 20:
            assert set(column) == frames
    assert (np.diff(draws) > 0).all()


@pytest.mark.parametrize('total', [1, 2, 5, 11])
def test_sampling_of_short_videos_repeats_the_centres(total):
    drawn = sample_uniformly(total, 12, random=True)
    assert drawn.tolist() == sample_uniformly(total, 12).tolist()
    assert set(drawn.tolist()) == set(range(total))
    assert (np.diff(drawn) >= 0).all()


def test_centre_sampling_is_the_documented_one():
    assert sample_uniformly(24, 4).tolist() == [3, 9, 15, 21]
    assert sample_uniformly(5, 12).tolist() == [
        *(0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4)
    ]


def test_test_mode_loads_the_centres(tiny_videos, read_stamp):
    path = tiny_videos / 'videos' / 'video0.mp4'
    results = load(path, num_frames=4, test_mode=True)
    assert results['frame_inds'].tolist() == [5, 15, 25, 35]
    assert [read_stamp(frame) for frame in results['imgs']] == [5, 15, 25, 35]
    assert results['total_frames'] == 40
    assert results['duration'] == pytest.approx(4.0)
    assert results['original_shape'] == results['img_shape'] == (64, 96)
    assert results['frame_mask'].tolist() == [True] * 4
    assert results['frame_mask'].dtype == bool


def test_spans_of_a_file_share_an_open_reader(tiny_videos, read_stamp):
    transform = build(num_frames=2, test_mode=True)
    path = str(tiny_videos / 'videos' / 'video0.mp4')
    with transform.open_video(path, {}) as reader:
        for start, expected in ((0.0, [5, 15]), (2.0, [25, 35])):
            span = dict(filename=path, start=start, end=start + 2)
            results = transform(dict(span, reader=reader))
            assert [read_stamp(each) for each in results['imgs']] == expected
            alone = transform(span)
            assert np.array_equal(results['imgs'], alone['imgs'])


def test_training_draws_other_frames_each_time(tiny_videos, read_stamp):
    np.random.seed(0)
    transform = build(num_frames=6)
    path = str(tiny_videos / 'videos' / 'video2.mp4')
    drawn = set()
    for _ in range(6):
        results = transform(dict(filename=path))
        indices = results['frame_inds'].tolist()
        assert [read_stamp(frame) for frame in results['imgs']] == indices
        drawn.add(tuple(indices))
    assert len(drawn) > 3


def test_short_video_repeats_frames(tiny_videos, read_stamp):
    path = tiny_videos / 'videos' / 'video3.mp4'
    results = load(path, test_mode=True)
    stamps = [read_stamp(frame) for frame in results['imgs']]
    assert stamps == sample_uniformly(5, 12).tolist()
    assert results['frame_mask'].all()


def test_short_video_is_padded_with_a_mask(tiny_videos, read_stamp):
    path = tiny_videos / 'videos' / 'video3.mp4'
    results = load(path, num_frames=7, short_videos='mask')
    assert results['frame_mask'].tolist() == [True] * 5 + [False] * 2
    assert [read_stamp(frame) for frame in results['imgs'][:5]] == [*range(5)]
    assert not np.any(results['imgs'][5:])
    packed = TRANSFORMS.build(dict(type='mmtvr.PackTextVideo'))(results)
    assert packed['inputs']['frame_mask'].tolist() == [True] * 5 + [False] * 2


@pytest.mark.parametrize(
    ('options', 'span', 'expected', 'mask'),
    [
        (dict(num_frames=6), {}, [0, 10, 20, 30], 4),
        (dict(num_frames=3), {}, [0, 10, 30], 3),
        (dict(num_frames=6, fps=2.5), {}, [0, 4, 12, 20, 28, 36], 6),
        (dict(num_frames=6), dict(start=1.5, end=3.5), [15, 25], 2),
    ],
)
def test_frames_per_second(
    tiny_videos, read_stamp, options, span, expected, mask
):
    path = tiny_videos / 'videos' / 'video0.mp4'
    results = load(path, span, sampling='fps', short_videos='mask', **options)
    assert results['frame_mask'].sum() == mask
    stamps = [read_stamp(frame) for frame in results['imgs'][:mask]]
    assert stamps == expected
    assert results['frame_inds'][:mask].tolist() == expected


@pytest.mark.parametrize(
    ('span', 'expected'),
    [
        (dict(start=1.0, end=2.0), [11, 13, 15, 17, 19]),
        (dict(end=0.5), [0, 1, 2, 3, 4]),
        (dict(start=3.0), [31, 33, 35, 37, 39]),
        (dict(start=3.5, end=99.0), [35, 36, 37, 38, 39]),
        (dict(start=1.01, end=1.05), [10] * 5),
        (dict(start=4.2, end=5.0), [39] * 5),
    ],
)
def test_time_span_limits_the_frames(tiny_videos, read_stamp, span, expected):
    path = tiny_videos / 'videos' / 'video0.mp4'
    results = load(path, span, num_frames=5, test_mode=True)
    indices = results['frame_inds'].tolist()
    assert [read_stamp(frame) for frame in results['imgs']] == indices
    assert indices == expected


def test_span_behind_the_end_counts_as_unreadable(tiny_videos):
    path = tiny_videos / 'videos' / 'video0.mp4'
    span = dict(start=60.0, end=70.0)
    assert load(path, span) is None
    with pytest.raises(SetupError, match='begins at 60'):
        load(path, span, test_mode=True)


def test_unreadable_video_gives_none_and_is_noted(tmp_path):
    transform = build()
    path = str(tmp_path / 'gone.mp4')
    assert transform(dict(filename=path)) is None
    assert transform(dict(filename=path)) is None
    (file, reason), again = transform.take_unreadable()
    assert file == path
    assert again == (file, reason)
    assert transform.take_unreadable() == []
    assert transform.find_problem(dict(filename=path)) == reason
    with pytest.raises(SetupError, match=r'Unreadable video .*gone\.mp4'):
        build(test_mode=True)(dict(filename=path))


def test_a_good_video_has_no_problem(tiny_videos, tmp_path):
    path = str(tiny_videos / 'videos' / 'video0.mp4')
    assert build().find_problem(dict(filename=path)) is None
    # The file itself is tried, not what a cache has of it.
    cached = build(cache=dict(folder=str(tmp_path / 'cache')))
    assert cached.find_problem(dict(filename=path)) is None
    assert not (tmp_path / 'cache').exists()
    few = str(tiny_videos / 'videos' / 'video3.mp4')
    assert build(num_frames=12).count_frames(dict(filename=few)) == 5
    late = dict(filename=path, start=60.0)
    assert 'begins at 60' in build().find_problem(late)


def test_a_video_that_takes_too_long_is_tried_twice(tmp_path, monkeypatch):
    # The decoder process finds the reader that hangs where it is started.
    end_decoder_process()
    transform = build(
        reader=dict(type='benchmarks.faults.failing_reader.FailingReader'),
        time_limit=0.5,
    )
    path = tmp_path / 'hangs.mp4'
    path.touch()
    sample = dict(filename=str(path))
    assert transform(sample) is None
    assert transform(sample) is None
    monkeypatch.setattr(transform, '_load', None)
    assert transform(sample) is None
    reason = 'gave up after 0.5 s (time_limit)'
    assert transform.take_unreadable() == [(str(path), reason)] * 3
    end_decoder_process()


@pytest.mark.parametrize(
    'options', [dict(num_frames=0), dict(short_side=0), dict(fps=0)]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match='must be positive'):
        build(**options)


def test_transform_is_picklable():
    transform = pickle.loads(pickle.dumps(build(num_frames=3)))
    assert transform.num_frames == 3


@pytest.mark.parametrize(
    'steps',
    [
        [
            dict(type='mmaction.Resize', scale=(-1, 40)),
            dict(type='mmaction.CenterCrop', crop_size=32),
        ],
        [
            dict(type='mmaction.RandomResizedCrop'),
            dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False),
            dict(type='mmaction.Flip', flip_ratio=1.0),
        ],
    ],
)
@pytest.mark.parametrize('name', ['video0.mp4', 'video1.mp4', 'video4.mp4'])
def test_transforms_of_mmaction2_follow(tiny_videos, steps, name):
    results = load(tiny_videos / 'videos' / name, num_frames=3, short_side=40)
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    shape = dict(type='mmaction.FormatShape', input_format='NCHW')
    results = TRANSFORMS.build(shape)(results)
    packed = TRANSFORMS.build(dict(type='mmtvr.PackTextVideo'))(results)
    assert packed['inputs']['frames'].shape == (3, 3, 32, 32)
    assert str(packed['inputs']['frames'].dtype) == 'torch.uint8'


@pytest.mark.shared
@pytest.mark.parametrize('name', CLIPS)
def test_real_clips_load_at_the_asked_size(shared_dir, name):
    path = shared_dir / 'clips' / name
    results = load(path, test_mode=True, short_side=112)
    assert len(results['imgs']) == 12
    assert min(results['img_shape']) == 112
    assert (np.diff(results['frame_inds']) > 0).all()
    whole = load(path, test_mode=True)
    np.testing.assert_allclose(
        np.mean(results['imgs']), np.mean(whole['imgs']), atol=2
    )
