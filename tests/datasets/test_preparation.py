"""Preparation of the data sets: small originals, then the real ones."""

import json

import pytest

from mmtvr.cli.prepare import prepare_benchmark
from mmtvr.datasets.annotations import (
    VideoCaptions,
    best_strict_recall,
    clean_captions,
    count_shared_captions,
    write_annotation,
)
from mmtvr.datasets.preparation import (
    KNOWN_COUNTS,
    LSMDC_FILES,
    READERS,
    read_didemo,
    read_lsmdc,
    read_msrvtt,
    read_pairs,
    read_vatex_captions,
)
from mmtvr.errors import SetupError


def test_clean_captions_counts_what_it_changes():
    videos = [
        VideoCaptions('a.mp4', ('one  two ', 'three')),
        VideoCaptions('b.mp4', (' \n',)),
    ]
    kept, report = clean_captions(videos)
    assert kept == [VideoCaptions('a.mp4', ('one two', 'three'))]
    assert (report.captions, report.whitespace, report.empty) == (2, 2, 1)
    assert report.videos_dropped == ('b.mp4',)


def test_best_strict_recall_lets_one_of_equal_captions_win():
    videos = [
        VideoCaptions('a.mp4', ('same', 'same', 'own')),
        VideoCaptions('b.mp4', ('same',)),
    ]
    assert best_strict_recall(videos) == 75.0
    assert count_shared_captions(videos) == 3


def test_write_annotation_leaves_the_old_file_on_failure(tmp_path):
    path = tmp_path / 'test.json'
    write_annotation(path, [VideoCaptions('a.mp4', ('x',), 0.0, 31.0)], {})
    before = path.read_text()
    with pytest.raises(TypeError):
        write_annotation(
            path, [VideoCaptions('b.mp4', ('y',))], {'split': object()}
        )
    assert path.read_text() == before
    assert json.loads(before)['videos'] == [
        {'file': 'a.mp4', 'captions': ['x'], 'start': 0.0, 'end': 31.0}
    ]


def test_msrvtt_takes_test_text_from_the_csv(tmp_path):
    info = {
        'sentences': [
            {'sen_id': 1, 'video_id': 'video7', 'caption': 'second'},
            {'sen_id': 0, 'video_id': 'video7', 'caption': 'first'},
        ]
    }
    for name in ('train_val_videodatainfo.json', 'test_videodatainfo.json'):
        (tmp_path / name).write_text(json.dumps(info))
        info = {'sentences': []}
    (tmp_path / 'MSRVTT_train.9k.csv').write_text('video_id\nvideo7\n')
    (tmp_path / 'MSRVTT_JSFUSION_test.csv').write_text(
        'key,vid_key,video_id,sentence\nret0,msr7,video7,third\n'
    )
    splits = read_msrvtt(tmp_path)
    assert splits['train_9k'][0].captions == ('first', 'second')
    assert splits['test_JSFUSION'] == [VideoCaptions('video7.mp4', ('third',))]


def test_didemo_paragraph_is_joined_only_when_asked(tmp_path, capsys):
    rows = [
        {'video': 'v.mov', 'description': 'one'},
        {'video': 'unlisted.mov', 'description': 'no'},
        {'video': 'v.mov', 'description': 'two\nlines'},
    ]
    for split in ('train', 'val', 'test'):
        (tmp_path / f'{split}_data.json').write_text(json.dumps(rows))
        (tmp_path / f'{split}_list.txt').write_text('v.mov\n\n')
    assert read_didemo(tmp_path)['test'] == [
        VideoCaptions('v.mov', ('one', 'two\nlines'), 0.0, 31.0)
    ]
    out = tmp_path / 'out'
    arguments = [str(tmp_path), '--output', str(out)]
    for flags in ([], ['--paragraph']):
        assert prepare_benchmark('didemo', arguments + flags) == 0
    one = json.loads((out / 'test.json').read_text())['videos'][0]
    joined = json.loads((out / 'test_paragraph.json').read_text())['videos'][0]
    assert one['captions'] == ['one', 'two lines']
    assert joined['captions'] == ['one two lines']


def test_lsmdc_names_the_line_that_is_not_of_the_layout(tmp_path):
    row = '1_Movie_00.01.02.003-00.01.05.004\ta\tb\tc\td\tShe runs.'
    for name in LSMDC_FILES.values():
        (tmp_path / name).write_text(row + '\n')
    clip = read_lsmdc(tmp_path)['test'][0]
    assert clip.captions == ('She runs.',)
    assert clip.file.endswith('/1_Movie_00.01.02.003-00.01.05.004.avi')
    (tmp_path / LSMDC_FILES['test']).write_text('only\ttwo\n')
    with pytest.raises(SetupError, match=r'line 1: 2 tab-separated'):
        read_lsmdc(tmp_path)


@pytest.mark.parametrize(
    'content',
    [
        [{'videoID': 'x_0_1', 'enCap': ['a', 'b'], 'chCap': ['c']}],
        {'x_0_1': {'enCap': ['a', 'b']}},
        {'x_0_1': ['a', 'b']},
    ],
)
def test_vatex_reads_every_published_layout(content):
    assert read_vatex_captions(content, 'x.json') == {'x_0_1': ['a', 'b']}


def test_missing_original_is_one_message_with_status_1(tmp_path, capsys):
    assert prepare_benchmark('msvd', [str(tmp_path)]) == 1
    assert 'captions_msvd.json is in' in capsys.readouterr().err


@pytest.mark.parametrize('suffix', ['.csv', '.jsonl'])
def test_read_pairs_groups_rows_of_one_clip(tmp_path, suffix):
    path = tmp_path / f'own{suffix}'
    rows = [('a.mp4', 'x, y', None), ('a.mp4', 'z', None), ('a.mp4', 'w', 2.5)]
    if suffix == '.csv':
        lines = [f'{f},"{c}",{"" if s is None else s}' for f, c, s in rows]
        path.write_text('\n'.join(['file,caption,start', *lines]))
    else:
        path.write_text(
            '\n'.join(
                json.dumps({'file': f, 'caption': c, 'start': s})
                for f, c, s in rows
            )
        )
    assert read_pairs(path) == [
        VideoCaptions('a.mp4', ('x, y', 'z')),
        VideoCaptions('a.mp4', ('w',), 2.5),
    ]


def test_read_pairs_names_every_row_that_cannot_be_used(tmp_path):
    path = tmp_path / 'own.csv'
    rows = ''.join(f'{name}.mp4,\n' for name in 'bcdefg')
    path.write_text(f'file,caption\na.mp4,x\n{rows}')
    with pytest.raises(SetupError) as raised:
        read_pairs(path)
    message = str(raised.value)
    assert message.startswith('6 of 7 rows cannot be used')
    assert all(f'line {number}: ' in message for number in range(3, 8))
    assert message.endswith('and 1 more')


@pytest.mark.shared
@pytest.mark.parametrize(
    'dataset', ['msrvtt', 'msvd', 'didemo', 'activitynet']
)
def test_real_originals_give_the_known_counts(shared_dir, dataset):
    splits = READERS[dataset](shared_dir / 'annotations' / dataset)
    for split, videos in splits.items():
        known = KNOWN_COUNTS[dataset][split]
        if (dataset, split) == ('didemo', 'train'):
            # Only the joined paragraphs of 8,362 of the videos are at hand.
            assert len(videos) == 8362
            continue
        assert len(videos) == known.videos
        assert sum(len(video.captions) for video in videos) == known.captions


@pytest.mark.shared
def test_real_1ka_allows_at_most_99_5_percent(shared_dir):
    videos = read_msrvtt(shared_dir / 'annotations' / 'msrvtt')
    assert best_strict_recall(videos['test_JSFUSION']) == 99.5
