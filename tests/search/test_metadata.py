import json

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT
from mmtvr.search.metadata import (
    Subtitles,
    find_snippet,
    read_metadata,
)
from mmtvr.search.query import (
    Selection,
    _fuse,
    _order_blocks,
    parse_where,
    search_similar,
)
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import Cue, Metadata

CSV = (
    'file,Title,level,good\n'
    'nested/three.webm,Grandmother dances,3,yes\n'
    'one,Bread and butter,,no\n'
    'missing.mp4,?,2,no\n'
)
SRT = '1\n00:00:01,500 --> 00:00:03,000\n<i>We bake</i>\nbread\n\n'


@pytest.fixture
def index(index_folder, videos, place):
    """Function that indexes the videos with a table; store and report."""

    def run(table=None):
        report, _, store = index_folder([videos], place, table=table)
        return store, report

    return run


def names(store, where):
    keys = store.find_matching(parse_where(store, where)).values()
    found = store.find_metadata([key for each in keys for key in each])
    return sorted(row.facts['name'] for row in found.values())


def test_types_and_text_of_a_table(tmp_path):
    (tmp_path / 'a.csv').write_text(CSV)
    table = read_metadata(tmp_path / 'a.csv')
    assert table.types == dict(title=TEXT, level=NUMBER, good=BOOLEAN)
    assert table.rows[1] == (
        'one',
        dict(title='Bread and butter', level=None, good=False),
    )
    assert table.text_columns == ('title',)
    content = {'one.mp4': dict(tags=['a', 'b'], n=1), 'two.avi': dict(n='x')}
    (tmp_path / 'a.json').write_text(json.dumps(content))
    table = read_metadata(tmp_path / 'a.json', ['tags', 'name'])
    assert table.types == dict(tags=TEXT, n=TEXT)
    assert table.rows[0] == ('one.mp4', dict(tags='a, b', n='1'))
    assert table.rows[1] == ('two.avi', dict(tags=None, n='x'))


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('title\nx\n', 'names the file'),
        ('file,A,a\nx,1,2\n', 'twice'),
        ('file,1st\nx,1\n', 'begin its name'),
        ('file,a\nx,1\nx,2\n', 'twice'),
        ('file,a\n,1\n', 'row 1 has no file'),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(text, says, tmp_path):
    (tmp_path / 'a.csv').write_text(text)
    with pytest.raises(SetupError, match=says):
        read_metadata(tmp_path / 'a.csv')


def test_columns_and_subtitles_are_indexed_filtered_and_found(
    index, videos, tmp_path
):
    (tmp_path / 'a.csv').write_text(CSV)
    (videos / 'one.en.srt').write_text(SRT)
    store, report = index(read_metadata(tmp_path / 'a.csv'))
    assert report.metadata == (2, 1, ('missing.mp4',))
    assert names(store, 'level > 2 and good') == ['three']
    assert names(store, "folder = ''") == ['one', 'two']
    assert names(store, "size < 9 and name like 'o%'") == ['one']
    found = store.search_text('grandmother', 5)
    assert [store.find_entry(key).path for key, _ in found] == [
        str(videos / 'nested/three.webm')
    ]
    ((key, _),) = store.search_text('bread', 5, parse_where(store, 'not good'))
    (cue,) = store.find_metadata([key])[key].cues
    assert cue == (1.5, 3.0, 'We bake bread')
    assert store.search_text('bread', 5, parse_where(store, 'good')) == []

    # Another pass without the table keeps what it gave; so does a move.
    (videos / 'nested/three.webm').rename(videos / 'moved.webm')
    (videos / 'one.en.srt').unlink()
    store, report = index()
    assert (report.encoded, report.unchanged) == (0, 2)
    assert names(store, 'level = 3') == ['moved']
    (row,) = store.find_metadata([key]).values()
    assert row.cues == ()
    (videos / 'moved.webm').unlink()
    store, _ = index()
    assert names(store, 'size > 0') == ['one', 'two']
    assert store.search_text('grandmother', 5) == []


def test_a_column_keeps_its_type(index, tmp_path):
    (tmp_path / 'a.csv').write_text('file,a\none,1\n')
    index(read_metadata(tmp_path / 'a.csv'))
    (tmp_path / 'a.csv').write_text('file,a\none,x\n')
    with pytest.raises(SetupError, match=r'column a of .* a number'):
        index(read_metadata(tmp_path / 'a.csv'))


def test_an_older_index_gets_columns_without_encoding(
    index, place, monkeypatch
):
    with monkeypatch.context() as patch:
        for name in ('begin', 'update'):
            patch.setattr(
                f'mmtvr.search.metadata.MetadataWriter.{name}',
                lambda *_: None,
            )
        store, _ = index()
    with pytest.raises(SetupError, match='bring it up to date'):
        parse_where(store, 'size > 0')
    assert store.search_text('one', 5) == []
    store, report = index()
    assert (report.encoded, report.unchanged) == (0, 3)
    assert names(open_store(place), 'size > 0') == ['one', 'three', 'two']


def test_a_filter_reaches_all_that_match(index, monkeypatch):
    store, _ = index()
    where = parse_where(store, "folder = 'nested'")
    (content,) = store.find_matching(where)
    video = store.read_videos([content])
    far = -video.pooled
    for most in (1000, 0):
        monkeypatch.setattr(
            'mmtvr.search.stores.lance.CONTENTS_PER_SEARCH', most
        )
        ((found,),) = store.nearest_within(far, 1, {content})
        assert found[0] == content
    results = search_similar(store, video, 3, 10, where=where)
    assert [each.fields['folder'] for each in results] == ['nested']


def test_pages_are_the_whole_in_parts():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal(30)
    # What is said must be among those read; here the first block holds it.
    said = [row for row in rng.permutation(30).tolist() if row < 10]

    def rank(offset):
        selection = Selection(3, offset, candidates=10)
        seen = _order_blocks(scores[: selection.neighbours], selection.block)
        return _fuse(seen, said, selection)[offset : offset + 3]

    pages = [row for offset in range(0, 30, 3) for row in rank(offset)]
    assert sorted(pages) == list(range(30))
    assert pages[:3] == rank(0)
    assert sorted(pages[:10]) == list(range(10))
    assert pages[10:20] == sorted(range(10, 20), key=lambda row: -scores[row])


def test_reciprocal_ranks_by_hand():
    # 1/61 + 1/62 for row 1, 1/61 for row 0, 1/62 for row 2.
    options = dict(candidates=3, match='auto')
    assert _fuse([0, 1, 3], [2, 1], Selection(4, **options)) == [1, 0, 2, 3]
    only = Selection(4, **{**options, 'match': 'text'})
    assert _fuse([0, 1, 3], [2, 1], only) == [2, 1]
    none = Selection(4, text_weight=0.0, **options)
    assert _fuse([0, 1, 3], [2, 1], none)[:3] == [0, 1, 3]


def test_subtitles_of_a_file_are_those_beside_it(tmp_path):
    for name in ('a.srt', 'a.de.vtt', 'ab.srt', 'a.txt'):
        (tmp_path / name).write_text('WEBVTT\n\n00:01.000 --> 00:02.000\nhi\n')
    subtitles = Subtitles()
    found = subtitles.find(str(tmp_path / 'a.mp4'))
    assert [path.rpartition('/')[2] for path in found] == ['a.de.vtt', 'a.srt']
    assert subtitles.read(found[:1]) == ((1.0, 2.0, 'hi'),)
    (tmp_path / 'a.srt').write_bytes(b'\xff\x00\x80')
    subtitles.read(found)
    assert list(subtitles.unreadable) == [str(tmp_path / 'a.srt')]


def test_a_snippet_says_where_the_words_are():
    cues = (Cue(1, 2, 'nothing'), Cue(5, 6, 'two dogs were running'))
    row = Metadata('', '', {}, {}, 'a title of dogs', cues)
    assert find_snippet(row, 'dog run') == ('two dogs were running', 5)
    assert find_snippet(row, 'title') == ('a title of dogs', None)
    assert find_snippet(row, 'zebra') == ('', None)
