"""The searcher, on videos of moving shapes with the CLIP that ships."""

import doctest
import json
import sys
from pathlib import Path

import pytest

from mmtvr.apis import searcher as searching
from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.errors import SetupError
from mmtvr.search import query

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/clip4clip_moving_shapes.py'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    return ensure_moving_shapes(root, 'test', 6, 0)


@pytest.fixture(scope='module')
def searcher(shapes, tmp_path_factory):
    found = TextVideoSearcher(CONFIG)
    into = tmp_path_factory.mktemp('index') / 'shapes'
    found.index(shapes, into=into, progress=False)
    return found


def test_examples_of_the_docstrings_run(shapes, tmp_path):
    names = dict(config=CONFIG, folder=shapes, where=tmp_path / 'index')
    failed, tried = doctest.testmod(searching, extraglobs=names)
    assert failed == 0
    assert tried >= 11


def test_examples_of_searching_by_vectors_run(searcher):
    names = dict(where=searcher.store.url)
    failed, tried = doctest.testmod(query, extraglobs=names)
    assert failed == 0
    assert tried >= 3


def test_similar_videos_leave_the_video_itself_out(searcher, shapes):
    video = shapes / 'videos/video2.mp4'
    found = searcher.search(video=video, top_k=5)
    assert [result.rank for result in found] == [1, 2, 3, 4, 5]
    assert str(video) not in [result.path for result in found]


def test_score_and_explain_agree_with_a_search(searcher):
    text = 'a red circle rising'
    best = searcher.search(text, top_k=1)[0]
    assert searcher.score(text, best.path) == pytest.approx(best.score)
    found = searcher.explain(text, best.path)
    told = found.explanation
    assert told.score == pytest.approx(best.score)
    assert told.words[1:-1] == ('a', 'red', 'circle', 'rising')
    assert found.times[told.sentence.argmax()] == best.time
    assert best.words[0].word == 'red'
    assert best.words[0].time == found.times[told.cosines[2].argmax()]
    json.dumps(found.to_dict())


def test_an_empty_query_is_refused(searcher):
    with pytest.raises(SetupError, match='empty'):
        searcher.search('  ')


def test_an_index_is_opened_without_what_encodes_videos(
    searcher, shapes, tmp_path
):
    searcher.index(shapes, into=tmp_path / 'index', progress=False)
    text = 'a red circle rising'
    best, *_ = expected = searcher.search(text)
    found = open_searcher(tmp_path / 'index')
    assert found.search(text) == expected
    assert not any(
        name.startswith('frame_encoder.')
        for name in found.encoder._text_model.state_dict()
    )
    # It is loaded when a video is encoded or explained.
    moved = tmp_path / 'moved.mp4'
    moved.write_bytes(Path(best.path).read_bytes())
    assert found.score(text, moved) == pytest.approx(best.score, abs=2e-3)
    explained = found.explain(text, best.path).explanation
    assert explained.score == pytest.approx(best.score)


def test_a_missing_engine_is_named_with_its_extra(monkeypatch, tmp_path):
    (tmp_path / 'about.lance').mkdir()
    monkeypatch.setitem(sys.modules, 'lancedb', None)
    with pytest.raises(SetupError, match=r"pip install 'mmtvr\[search\]'"):
        open_searcher(tmp_path)
    monkeypatch.setitem(sys.modules, 'pymilvus', None)
    with pytest.raises(SetupError, match=r"pip install 'mmtvr\[milvus\]'"):
        open_searcher('http://127.0.0.1:19530/clips')
