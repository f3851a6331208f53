"""Features that leave an index, and features of others that enter one."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mmtvr.apis import evaluate, export_index, import_index
from mmtvr.errors import SetupError
from mmtvr.search.calibration import Calibration, find_calibration
from mmtvr.search.features import (
    import_features,
    list_readable,
    place_captions,
    read_features,
)
from mmtvr.search.metadata import read_metadata
from mmtvr.search.query import (
    read_queries,
    search_by_name,
    search_by_vectors,
)
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import FileEntry, StoredVideos
from mmtvr.search.video_files import CaptionedVideo, FoundVideo
from tests.search.conftest import draw


def test_an_exported_index_is_the_same_when_it_is_imported(
    videos, index_folder, tmp_path
):
    _, _, store = index_folder([videos], tmp_path / 'index')
    export_index(store.url, tmp_path / 'features.npz')
    with np.load(tmp_path / 'features.npz', allow_pickle=False) as file:
        names, pooled = file['videos'].tolist(), file['video']
    assert len(names) == 3
    other = open_store(tmp_path / 'imported')
    file = tmp_path / 'features.npz'
    assert import_features(other, file, 'float16', 2) == 3
    for name, vector in zip(names, pooled, strict=True):
        (best,), *_ = search_by_vectors(
            tmp_path / 'imported', vector[None], top_k=1
        )
        assert best.path == name
        assert best.score == pytest.approx(1, abs=2e-3)
        found = search_by_name(tmp_path / 'imported', name)
        assert name not in [result.path for result in found]
        assert len(found) == 2


def test_the_whole_index_comes_back(
    videos, index_folder, tmp_path, monkeypatch
):
    (videos / 'again.mp4').write_bytes(b'one.mp4')
    (videos / 'bad.mp4').write_bytes(b'broken')
    (videos / 'one.srt').write_text('1\n00:00:01,000 --> 00:00:02,000\nhi\n')
    (tmp_path / 'a.csv').write_text('file,level,title\none.mp4,3,A dog\n')
    table = read_metadata(tmp_path / 'a.csv')
    curve = Calibration(9.0, -2.0, 20, 6, 0.1)
    facts = dict(precision='int8', calibration=curve.to_dict())
    *_, store = index_folder(
        [videos], tmp_path / 'index', table=table, **facts
    )
    (entry,) = (e for e in store.list_files() if e.path.endswith('three.webm'))
    entry = replace(entry, windows=2, hubness=0.25)
    drawn = [draw(each) for each in entry.contents[1:]]
    store.add_videos(
        StoredVideos(
            entry.contents[1:],
            *map(
                np.stack,
                zip(
                    *((d.pooled, d.tokens, d.times) for d in drawn),
                    strict=True,
                ),
            ),
        )
    )
    store.put_files([entry])
    file, copy = tmp_path / 'features.npz', tmp_path / 'copy'
    assert export_index(store.url, file) == dict(exported=4, windows=2)

    def state(store):
        contents = sorted(store.list_contents())
        videos = store.read_videos(contents)
        return (
            sorted(store.list_files(), key=lambda each: each.path),
            sorted(store.list_metadata(), key=lambda row: row.key),
            (store.list_columns(), store.read_info(), contents),
            [each.tolist() for each in videos.times],
        ), videos

    # Elsewhere, where the files are not, and in the middle of it killed.
    videos.rename(tmp_path / 'elsewhere')
    with monkeypatch.context() as patch:
        patch.setattr(type(store), 'put_metadata', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_index(copy, file)
    assert import_index(copy, file) == 4
    (before, features), (after, copied) = state(store), state(open_store(copy))
    assert after == before
    np.testing.assert_allclose(features.pooled, copied.pooled, atol=2e-3)
    for pair in zip(features.tokens, copied.tokens, strict=True):
        np.testing.assert_allclose(*pair, atol=2e-2)
    info = open_store(copy).read_info()
    assert find_calibration(info) == curve
    with pytest.raises(SetupError, match='another index'):
        import_index(copy, file)
    # Columns may come with it; what was said stays.
    (tmp_path / 'b.csv').write_text('file,place\none.mp4,here\n')
    other = tmp_path / 'other'
    import_index(other, file, metadata=tmp_path / 'b.csv')
    (row,) = (r for r in open_store(other).list_metadata() if r.cues)
    assert row.given == dict(level=3.0, title='A dog', place='here')
    # Who changes the vectors has an encoder of their own.
    content = dict(np.load(file))
    np.savez(file, **dict(content, video=-content['video']))
    with pytest.warns(UserWarning, match='other vectors'):
        import_index(tmp_path / 'changed', file)
    assert open_store(tmp_path / 'changed').read_info()['imported']


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (lambda rest: rest.pop('columns'), 'KeyError'),
        (lambda rest: rest.update(info={'width': 0}), 'width'),
        (lambda rest: rest['entries'].pop(), 'not the videos'),
        (lambda rest: rest['columns'].update({'a` --': 'text'}), 'column'),
        (
            lambda rest: rest['entries'].__setitem__(
                0, rest['entries'][0].replace('"content": "', '"content": "x')
            ),
            'features are not those',
        ),
    ],
)
def test_a_damaged_index_in_a_file_is_refused(
    change, match, videos, index_folder, tmp_path
):
    *_, store = index_folder([videos], tmp_path / 'index')
    file = tmp_path / 'features.npz'
    export_index(store.url, file)
    content = dict(np.load(file))
    rest = json.loads(content['index'].tobytes())
    change(rest)
    content['index'] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
    np.savez(file, **content)
    with pytest.raises(SetupError, match=match):
        import_index(tmp_path / 'copy', file)
    assert open_store(tmp_path / 'copy').read_info() is None


def test_spans_of_one_file_stay_apart_on_their_way(
    videos, index_folder, tmp_path
):
    annotation = tmp_path / 'spans.json'
    spans = [dict(start=0.0, end=1.5), dict(start=1.5), {}]
    clips = [dict(file='one.mp4', captions=['a'], **span) for span in spans]
    annotation.write_text(json.dumps(dict(videos=clips)))
    _, _, store = index_folder([annotation], tmp_path / 'index')
    file, other = tmp_path / 'features.npz', open_store(tmp_path / 'imported')
    export_index(store.url, file)
    assert import_features(other, file, 'float16', 1) == 3
    before, after = map(list_readable, (store, other))
    assert [(e.path, e.start, e.end) for e in before] == [
        (e.path, e.start, e.end) for e in after
    ]
    vectors = [
        where.read_videos([e.content for e in entries]).pooled
        for where, entries in ((store, before), (other, after))
    ]
    np.testing.assert_allclose(*vectors, atol=2e-3)
    other.remove_files([after[0].key])
    with pytest.raises(SetupError, match='but 2 spans of it'):
        search_by_name(tmp_path / 'imported', after[0].path)


def test_an_index_that_changes_while_it_is_read_is_not_exported(
    videos, index_folder, tmp_path
):
    _, _, store = index_folder([videos], tmp_path / 'index')
    entries = list_readable(store)
    assert read_features(store, entries)['videos'].shape == (3,)
    store.remove_videos([entries[1].content])
    with pytest.raises(SetupError, match='has changed'):
        read_features(store, entries)


def test_captions_of_videos_without_features_are_named_with_the_remedy():
    here = FileEntry('/here.mp4', 'ab')
    broken = FileEntry('/broken.mp4', '', error='it holds no frame')
    videos = [
        CaptionedVideo(FoundVideo(f'/{name}.mp4', ''), ['a'])
        for name in ('here', 'broken', 'absent')
    ]
    with pytest.raises(SetupError, match=r'1 of 3.*absent.*Index the annot'):
        place_captions(videos, [here], [broken])
    with pytest.raises(SetupError, match=r'1 of 2.*broken.*Fix them'):
        place_captions(videos[:2], [here], [broken])
    placed = place_captions(videos[:1], [here], [broken])
    assert placed['text_video_ids'].tolist() == [0]


# Of five videos, the third is nearest to the third text and to the fourth.
FOREIGN = dict(
    text=3 * np.eye(5, 8, dtype='f4')[[0, 1, 2, 2, 4, 4]],
    video=np.eye(5, 8, dtype='f4'),
    text_video_ids=np.array([10, 11, 12, 13, 14, 14]),
    video_ids=np.arange(10, 15),
    texts=np.array(list('abcdef')),
    videos=np.array([f'{n}.mp4' for n in range(5)]),
)


def test_features_of_others_are_searched_and_evaluated_alike(tmp_path):
    path = tmp_path / 'foreign.npz'
    np.savez(path, **FOREIGN)
    import_features(open_store(tmp_path / 'index'), path, 'float16', 4)
    vectors, names = read_queries(path)
    assert names == list('abcdef')
    found = search_by_vectors(tmp_path / 'index', vectors, top_k=1)
    nearest = [FOREIGN['videos'].tolist().index(v.path) for (v,) in found]
    assert nearest == [0, 1, 2, 2, 4, 4]
    for name, wrong in (('top_k', 0), ('candidates', -1)):
        with pytest.raises(SetupError, match=f'{name} must be at least 1'):
            search_by_vectors(tmp_path / 'index', vectors, **{name: wrong})
        with pytest.raises(SetupError, match=f'{name} must be at least 1'):
            search_by_name(tmp_path / 'index', '0.mp4', **{name: wrong})
    out = tmp_path / 'report'
    evaluate(path, out=out)
    (row,) = json.loads((out / 'report.json').read_text())['rows']
    # Five texts of six are answered; to the fourth video no text is nearest.
    assert row['t2v']['measures']['R1'] == pytest.approx(100 * 5 / 6)
    assert row['v2t']['queries'] == 5


def test_an_import_that_failed_in_the_middle_goes_on(tmp_path, monkeypatch):
    path, store = tmp_path / 'foreign.npz', open_store(tmp_path / 'index')
    np.savez(path, **FOREIGN)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), 'put_files', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            import_features(store, path, 'float16', 1)
    store = open_store(tmp_path / 'index')
    assert import_features(store, path, 'float16', 1) == 5
    assert store.count_videos() == len(list_readable(store)) == 5
    np.savez(path, **dict(FOREIGN, video=2 * FOREIGN['video']))
    with pytest.raises(SetupError, match='another index'):
        import_features(store, path, 'float16', 1)


def test_an_index_without_a_model_says_that_it_encodes_no_captions(tmp_path):
    path, index = tmp_path / 'foreign.npz', tmp_path / 'index'
    np.savez(path, **FOREIGN)
    import_features(open_store(index), path, 'float16', 1)
    with pytest.raises(SetupError, match='cannot encode captions'):
        export_index(index, tmp_path / 'out.npz', tmp_path / 'any.json')


GOOD = dict(video=np.eye(3, dtype='f4'), videos=np.array(['a', 'b', 'c']))
TOKENS = dict(
    tokens=np.eye(3, dtype='f4'),
    times=np.zeros(3),
    token_counts=np.ones(3, int),
)
# Their sum is 3 in 64 bits.
OVERFLOWING = np.array([2**63, 2**63, 3], 'u8')


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (dict(videos=np.array(['a', 'b', 'a'])), 'twice'),
        (dict(starts=np.array(['0', '1', '2'])), 'starts is <U1'),
        (dict(videos=np.array(['a', 'b'])), 'shape'),
        (dict(video=np.zeros((3, 4), 'f4')), 'row 0 of video is zero'),
        (dict(video=np.full((3, 4), np.nan, 'f4')), 'not finite'),
        (dict(video=np.ones((3, 4), int)), 'int64'),
        (dict(tokens=np.ones((4, 3), 'f4')), 'without token_counts'),
        (
            dict(TOKENS, tokens=np.ones((4, 3), 'f4'), times=np.zeros(4)),
            'do not divide 4',
        ),
        (dict(TOKENS, token_counts=np.ones(3)), 'token_counts is float64'),
        (dict(TOKENS, token_counts=OVERFLOWING), 'do not divide 3'),
        (dict(TOKENS, times=np.array(['0', '1', '2'])), 'times is <U1'),
        (dict(TOKENS, times=np.array([0, np.inf, 1])), 'row 1 of times'),
        (dict(TOKENS, tokens=np.array(1.0)), 'tokens is float64 of shape ()'),
        (dict(TOKENS, tokens=np.ones((3, 4))), 'tokens has shape (3, 4)'),
        (dict(videos=np.array(['a', 'b', None])), 'cannot be read'),
    ],
)
def test_a_faulty_file_is_refused_with_what_is_wrong(change, match, tmp_path):
    np.savez(tmp_path / 'bad.npz', **{**GOOD, **change})
    store = open_store(tmp_path / 'index')
    with pytest.raises(SetupError, match=re.escape(match)):
        import_features(store, tmp_path / 'bad.npz', 'float16', 1)
    assert store.read_info() is None


def test_parts_below_one_are_refused_before_an_index_is_made(tmp_path):
    np.savez(tmp_path / 'good.npz', **GOOD, **TOKENS)
    store = open_store(tmp_path / 'index')
    with pytest.raises(SetupError, match='at least 1, got -3'):
        import_features(store, tmp_path / 'good.npz', 'float16', -3)
    assert store.read_info() is None


@pytest.mark.parametrize('shape', [(), (3,)])
def test_queries_that_are_no_table_are_told_what_is_expected(shape, tmp_path):
    path = tmp_path / 'queries.npy'
    np.save(path, np.ones(shape, np.float32))
    with pytest.raises(SetupError, match=r'of shape \(.*vectors \(Q, D\)'):
        read_queries(path)
    path.write_bytes(b'no array')
    with pytest.raises(SetupError, match=r'cannot be read.*vectors \(Q, D\)'):
        read_queries(path)
