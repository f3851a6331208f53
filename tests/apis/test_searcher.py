"""The searcher, on videos of moving shapes with the CLIP that ships."""

import doctest
import json
from pathlib import Path

import pytest

from mmtvr.apis import searcher as searching
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.errors import SetupError

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
    assert tried >= 7


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
