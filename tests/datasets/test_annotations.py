"""Annotation files: both layouts, and one message for each fault."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtvr.datasets.annotations import (
    VideoCaptions,
    read_annotations,
    write_annotation,
)
from mmtvr.errors import SetupError


def write(folder, content):
    path = folder / 'train.json'
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding='utf-8')
    return path


def test_mmaction2_layout_keeps_the_order(tmp_path):
    path = write(tmp_path, {'b.mp4': ['x y', 'z'], 'a.mp4': ['été']})
    assert read_annotations(path) == [
        VideoCaptions('b.mp4', ('x y', 'z')),
        VideoCaptions('a.mp4', ('été',)),
    ]


def test_written_annotation_reads_back_equal(tmp_path):
    videos = [
        VideoCaptions('a.mp4', ('x',), 0.0, 31.0),
        VideoCaptions('a.mp4', ('y', 'z'), 31.0),
        VideoCaptions('b.mp4', ('x',)),
    ]
    write_annotation(tmp_path / 'a.json', videos, {'split': 'test'})
    assert read_annotations(tmp_path / 'a.json') == videos


def test_video_named_videos_is_no_list_of_records(tmp_path):
    path = write(tmp_path, {'videos': ['a caption']})
    assert read_annotations(path) == [VideoCaptions('videos', ('a caption',))]


def test_missing_file_names_path_and_command(tmp_path):
    with pytest.raises(SetupError, match=r'gone\.json .*mmtvr prepare table'):
        read_annotations(tmp_path / 'gone.json')


@pytest.mark.parametrize(
    ('content', 'finding'),
    [
        ('', 'cannot be read as JSON'),
        ('{"a.mp4": ["x"]', 'cannot be read as JSON'),
        ('{"a.mp4": ["x"], "a.mp4": ["y"]}', "'a.mp4' occurs twice"),
        ({}, 'holds no videos'),
        ({'videos': []}, 'holds no videos'),
        ('[' * 100_000, 'cannot be read as JSON'),
        ([1], 'it holds a list'),
        ('null', 'it holds a NoneType'),
        ({'a.mp4': 'caption'}, "'a.mp4' has no list of captions"),
        ({'a.mp4': []}, "'a.mp4' has no list of captions"),
        ({'a.mp4': ['x', ' \t']}, "caption 1 of 'a.mp4' is"),
        ({'a.mp4': ['x', None]}, "caption 1 of 'a.mp4' is None"),
        ({' ': ['x']}, 'not the name of a file'),
        ({'videos': [{'captions': ['x']}]}, 'video 0 has no key "file"'),
        ({'videos': [{'file': 3, 'captions': ['x']}]}, '3 is not the name'),
        (
            {'videos': [{'file': 'a', 'captions': ['x'], 'end': 'y'}]},
            "'end' of 'a' in annotation file",
        ),
        (
            {'videos': [{'file': 'a', 'captions': ['x'], 'start': -1}]},
            'is -1, expected seconds',
        ),
        (
            {'videos': [dict(file='a', captions=['x'], start=2, end=2)]},
            'is from 2.0 to 2.0',
        ),
    ],
)
def test_faulty_file_is_named_with_the_place(tmp_path, content, finding):
    path = write(tmp_path, content)
    with pytest.raises(SetupError, match=r'train.json') as error:
        read_annotations(path)
    assert finding in str(error.value)


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    path = tmp_path / 'train.json'
    path.write_bytes(b'{"a.mp4":\n["caf\xe9"]}')
    with pytest.raises(SetupError, match='line 2 is not UTF-8: byte 0xe9'):
        read_annotations(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_any_json_is_read_or_refused_as_setup_error(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), content)
    with suppress(SetupError):
        assert all(record.captions for record in read_annotations(path))
