"""The searcher, on videos of moving shapes with the CLIP that ships."""

import doctest
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmtvr.apis import searcher as searching
from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
from mmtvr.datasets.moving_shapes.generation import (
    ensure_moving_shapes,
    write_video,
)
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.errors import SetupError
from mmtvr.registry import MODELS
from mmtvr.search import calibration, query
from mmtvr.search import recall as recall_of
from mmtvr.search.encoder import RetrievalEncoder, find_weights
from mmtvr.search.query import Selection, search_combined
from mmtvr.search.stores import open_store
from mmtvr.search.stores.lance import LanceStore
from mmtvr.search.video_files import read_captioned
from mmtvr.video import AutoReader

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


def test_a_video_of_another_shape_is_one_unreadable_video(
    searcher, shapes, tmp_path
):
    # Without the resize of the recipe.
    config = Config.fromfile(CONFIG)
    steps = config.test_dataloader.dataset.pipeline
    steps[:3] = [dict(type='mmtvr.LoadVideoFrames', num_frames=8)]
    bare = TextVideoSearcher(config)
    folder = tmp_path / 'mixed'
    folder.mkdir()
    frames = np.zeros((4, 96, 96, 3), np.uint8)
    for name in ('b.mp4', 'c.mp4'):
        shutil.copy(shapes / 'videos/video0.mp4', folder / name)
    write_video(folder / 'odd.mp4', frames)
    report = bare.index(folder, into=tmp_path / 'one', progress=False)
    assert report.videos == 2
    (why,) = report.unreadable.values()
    assert '96, 96' in why
    # With it, the odd one is read too.
    report = searcher.index(folder, into=tmp_path / 'all', progress=False)
    assert (report.videos, report.unreadable) == (3, {})
    searcher.open(searcher_index(searcher, shapes, tmp_path))
    # Nothing but such videos is a fault of the config: no index is made.
    (folder / 'b.mp4').unlink()
    (folder / 'c.mp4').unlink()
    with pytest.raises(SetupError, match=r'odd\.mp4.*CenterCrop'):
        bare.index(folder, into=tmp_path / 'none', progress=False)
    assert not (tmp_path / 'none').exists()


def searcher_index(searcher, shapes, tmp_path):
    searcher.index(shapes, into=tmp_path / 'again', progress=False)
    return tmp_path / 'again'


def test_an_index_finds_its_checkpoint_from_anywhere(
    shapes, tmp_path, monkeypatch
):
    project = tmp_path / 'project'
    (project / 'work_dirs/run').mkdir(parents=True)
    config = Config.fromfile(ROOT / 'configs/dmae_moving_shapes.py')
    init_default_scope('mmtvr')
    weights = MODELS.build(config.model).state_dict()
    torch.save(weights, project / 'work_dirs/run/best.pth')
    monkeypatch.chdir(project)
    found = TextVideoSearcher(config, 'work_dirs/run/best.pth')
    found.index(shapes, into='work_dirs/index', progress=False)
    monkeypatch.chdir(tmp_path)
    text = 'a red circle'
    expected = open_searcher('project/work_dirs/index').search(text)
    # The whole project moves, and an older index has a relative path.
    project.rename(tmp_path / 'moved')
    moved = tmp_path / 'moved/work_dirs/index'
    assert open_searcher(moved).search(text)[0].score == expected[0].score
    info = open_store(moved).read_info()
    info['checkpoint_path'] = 'work_dirs/run/best.pth'
    assert find_weights(info, str(moved)).is_file()
    # Of another content it is not taken.
    torch.save({}, tmp_path / 'moved/work_dirs/run/best.pth')
    with pytest.raises(SetupError, match='is another one: say where'):
        open_searcher(moved)


def test_a_query_says_what_the_model_does_not_know(searcher):
    reading = searcher.read_text('一个红色的圆')
    assert reading.is_unknown
    assert searcher.read_text('a red kreis').unknown == ('kreis',)
    assert searcher.read_text('a red circle ' * 30).cut
    best = searcher.search('a red kreis', top_k=1)[0]
    assert 'kreis' not in [word.word for word in best.words]


def test_an_index_is_calibrated_by_captions(shapes, tmp_path, monkeypatch):
    searcher = TextVideoSearcher(CONFIG)
    searcher.index(shapes, into=tmp_path / 'index', progress=False)
    text = 'a red circle rising'
    (before,) = searcher.search(text, top_k=1)
    assert before.probability is None
    captions = shapes / 'annotations.json'
    with pytest.raises(SetupError, match='at least 10'):
        searching.calibrate_index(tmp_path / 'index', captions)
    monkeypatch.setattr(calibration, 'MIN_OF_A_KIND', 1)
    report = searching.calibrate_index(tmp_path / 'index', captions)
    assert (report['queries'], report['videos']) == (18, 6)
    for found in (searcher, open_searcher(tmp_path / 'index')):
        (best,) = found.search(text, top_k=1)
        assert best.score == before.score
        assert (best.probability > 0.5) == (best.score > report['cut_off'])
        assert found.search(text, min_score=best.score + 1) == []
    # Bringing it up to date keeps it.
    searcher.index(shapes, into=tmp_path / 'index', progress=False)
    assert searcher.calibration.queries == 18


def test_a_recall_takes_as_many_candidates_as_were_measured(
    shapes, searcher, tmp_path, monkeypatch
):
    index = tmp_path / 'index'
    shutil.copytree(searcher.store.url, index)
    searcher = open_searcher(index)
    find = LanceStore.find_candidates

    def find_worse(store, queries, count, within=None):
        found = find(store, queries, 6, within)
        return [(each[2:] + each[:2])[:count] for each in found]

    monkeypatch.setattr(LanceStore, 'find_candidates', find_worse)
    with pytest.raises(SetupError, match='--calibrate'):
        searcher.candidates_for(0.9)
    monkeypatch.setattr(calibration, 'MIN_OF_A_KIND', 1)
    captions = shapes / 'annotations.json'
    report = searching.calibrate_index(index, captions)
    texts = [
        text
        for _, some in read_captioned(captions, None)
        for text in dict.fromkeys(some)
    ]

    def first(count):
        found = searcher.search(texts, top_k=1, candidates=count)
        return np.array([each.path for (each,) in found])

    exact = first(100)
    for recall in (0.3, 0.8, 1.0):
        count = searcher.candidates_for(recall)
        assert (first(count) == exact).mean() >= recall
    assert count > 4
    assert (first(count - 1) == exact).mean() < recall
    assert [recall for recall, _ in report['candidates']] == [0.9, 0.95, 0.99]
    measured = dict(ranks=[0, 0, 3, 7], videos=10)
    assert recall_of.count_candidates(measured, 0.5, 20) == 1
    assert recall_of.count_candidates(measured, 0.51, 20) == 4
    with pytest.raises(SetupError, match='now it has 21'):
        recall_of.count_candidates(measured, 0.5, 21)
    for wrong in (0.0, 1.1, float('nan')):
        with pytest.raises(SetupError, match='at most 1'):
            recall_of.count_candidates(measured, wrong, 20)


def test_hubs_are_ranked_lower_where_they_were_measured(shapes, tmp_path):
    searcher = TextVideoSearcher(CONFIG)
    searcher.index(shapes, into=tmp_path / 'index', progress=False)
    text = 'a red circle rising'
    before = searcher.search(text)
    # Nothing is known of any video yet.
    assert searcher.search(text, nnn=1.0) == before
    captions = shapes / 'annotations.json'
    where = dict(index=tmp_path / 'index', captions=captions)
    assert searching.measure_hubness(**where, neighbours=3) == 6
    assert searcher.search(text) == before
    entries = searcher.store.list_files()
    hubness = {entry.path: entry.hubness for entry in entries}
    texts = [t for v in json.loads(captions.read_text()).values() for t in v]
    for path, value in list(hubness.items())[:2]:
        scores = sorted(searcher.score(each, path) for each in texts)
        assert value == pytest.approx(np.mean(scores[-3:]), abs=1e-3)
    after = searcher.search(text, nnn=100.0)
    order = [result.path for result in after]
    assert order == sorted(hubness, key=hubness.get)
    scores = {result.path: result.score for result in before}
    assert {result.path: result.score for result in after} == scores


def test_the_first_stage_asks_for_what_the_head_compares(searcher):
    text = ['a red circle and a blue bar']
    texts = searcher.encoder.encode_texts(text)
    (vectors,) = searcher.encoder.query_vectors(texts)
    # Its head compares pooled vectors.
    assert vectors.words.shape == (0, 96)
    assert vectors.vectors.shape == (1, 96)
    config = Config.fromfile(ROOT / 'configs/dmae_moving_shapes.py')
    config.model.temporal = None
    init_default_scope('mmtvr')
    for levels, count in ((('sentence', 'word'), 10), (('word',), 9)):
        config.model.head = dict(
            type='mmtvr.DMAEHead', embed_dims=96, levels=levels
        )
        encoder = RetrievalEncoder(config, None)
        texts = encoder.encode_texts(text)
        (vectors,) = encoder.query_vectors(texts)
        # Seven words, and what begins and ends a text.
        assert vectors.vectors.shape == (count, 96)
        assert vectors.all_weights.sum() == pytest.approx(1)


@pytest.mark.parametrize('score', [float('nan'), 538.0, -3.0])
def test_scores_that_the_head_cannot_give_are_refused(
    searcher, monkeypatch, score
):
    monkeypatch.setattr(
        searcher.encoder,
        'score',
        lambda text, video: torch.full((1, len(video.pooled)), score),
    )
    with pytest.raises(SetupError, match='is damaged'):
        searcher.search('a red circle')


def test_texts_examples_and_what_is_not_to_be_seen_go_together(
    searcher, shapes, tmp_path
):
    text = 'a red circle'
    plain = [each.path for each in searcher.search(text, top_k=6)]
    unlike = searcher.search(text, top_k=6, unlike=text)
    # What is wanted and not wanted at once is nowhere above the mean.
    assert unlike[0].score <= 0 + 1e-4
    video = plain[-1]
    both = searcher.search(text, video=video, top_k=6)
    assert len(both) == 5
    assert video not in [each.path for each in both]
    assert both[0].score >= both[-1].score
    page = searcher.search(text, video=video, top_k=2, offset=2)
    assert [(each.path, each.rank) for each in page] == [
        (each.path, each.rank) for each in both[2:4]
    ]
    with pytest.raises(SetupError, match='not only what is not'):
        search_combined(
            searcher.store, searcher.encoder, [], [], ['x'], Selection()
        )


def test_an_image_finds_the_video_that_it_is_of(searcher, shapes, tmp_path):
    video = str(shapes / 'videos/video1.mp4')
    with AutoReader(video) as reader:
        middle = len(reader) // 2
        Image.fromarray(reader.get_frames([middle])[0]).save(
            tmp_path / 'frame.png'
        )
    best = searcher.search(video=tmp_path / 'frame.png', top_k=1)[0]
    assert best.path == video
    assert best.score > 0.5


def test_what_looks_the_same_is_one_result(searcher):
    every = searcher.search('red', top_k=6)
    few = searcher.search('red', top_k=6, distinct=0.5)
    assert len(few) < len(every)
    assert len(few) + sum(each.near_copies for each in few) == len(every)
    assert few[0].path == every[0].path


def test_watching_takes_in_what_comes_once_it_is_whole(
    searcher, shapes, tmp_path, monkeypatch
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    source = shapes / 'videos/video0.mp4'
    shutil.copy(source, folder / 'one.mp4')
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            (folder / 'two.mp4').write_bytes(source.read_bytes()[:1000])
        if len(looks) == 3:
            shutil.copy(shapes / 'videos/video1.mp4', folder / 'two.mp4')
        if len(looks) == 6:
            (folder / 'one.srt').write_text(
                '1\n00:00:00,100 --> 00:00:01,000\nhi\n'
            )
        assert len(looks) < 12

    monkeypatch.setattr(searching.time, 'sleep', sleep)
    own = TextVideoSearcher(searcher.config)
    passes = own.watch(folder, tmp_path / 'i', seconds=3, progress=False)
    assert next(passes).videos == 1
    report = next(passes)
    assert (report.videos, report.encoded) == (2, 1)
    assert not report.unreadable
    # It was never indexed by half, and not before it was seen twice.
    assert len(looks) == 4
    assert next(passes).unchanged == 2
    assert [each.snippet for each in own.search('hi', match='text')] == ['hi']
    shutil.rmtree(folder)
    assert isinstance(next(passes), SetupError)
    passes.close()


@pytest.fixture(scope='module')
def long_video(shapes, tmp_path_factory):
    """Three videos of shapes one after the other, some six seconds."""
    frames = []
    for number in range(3):
        with AutoReader(shapes / f'videos/video{number}.mp4') as reader:
            frames += [*reader.get_frames(range(len(reader)))]
    path = tmp_path_factory.mktemp('long') / 'long.mp4'
    write_video(path, frames)
    return path


def test_windows_hold_what_their_spans_do(
    searcher, long_video, tmp_path, monkeypatch
):
    opened = []
    open_video = LoadVideoFrames.open_video

    def count(self, path, results):
        opened.append(path)
        return open_video(self, path, results)

    monkeypatch.setattr(LoadVideoFrames, 'open_video', count)
    options = dict(progress=False, window=2, overlap=1)
    report = searcher.index(long_video, into=tmp_path / 'long', **options)
    assert (report.videos, report.encoded) == (1, 1)
    # Once as a whole, and once for all of its windows.
    assert len(opened) == 2
    (entry,) = searcher.store.list_files()
    assert report.windows == entry.windows >= 4
    windows = searcher.store.read_videos(entry.contents[1:])
    spans = [
        dict(
            file='long.mp4',
            start=float(start),
            end=start + 2.0,
            captions=['a'],
        )
        for start in range(entry.windows - 1)
    ]
    annotation = tmp_path / 'spans.json'
    annotation.write_text(json.dumps(dict(videos=spans)))
    searcher.index(
        annotation,
        into=tmp_path / 'spans',
        videos_folder=long_video.parent,
        progress=False,
    )
    entries = sorted(searcher.store.list_files(), key=lambda each: each.start)
    found = searcher.store.read_videos([each.content for each in entries])
    for row, times in enumerate(found.times):
        assert np.array_equal(times, windows.times[row])
        assert np.allclose(found.tokens[row], windows.tokens[row], atol=1e-3)
    assert windows.times[-1].min() >= entry.windows - 1


def test_moments_of_a_long_video(searcher, shapes, long_video, tmp_path):
    options = dict(progress=False, window=2, overlap=1)
    searcher.index(
        [long_video, shapes / 'videos'], into=tmp_path / 'index', **options
    )
    text = 'a red circle rising'
    found = searcher.search(text, moments=True)
    assert sorted(each.path for each in found)[0] == str(long_video)
    (hit,) = [each for each in found if each.path == str(long_video)]
    assert hit.score == pytest.approx(searcher.score(text, long_video))
    assert hit.moment_step <= 0.5
    every = searcher.find_moments(text, long_video)
    assert every[0] == hit.moments[0]
    assert all(0 <= each.start < each.end < 7 for each in every)
    # What is explained is what it was found by: the whole, or a window.
    assert hit.time in searcher.explain(text, long_video).times
    without, *_ = searcher.search(text, top_k=1)
    assert without.moments == ()
    # Windows go with the index.
    counts = searching.export_index(tmp_path / 'index', tmp_path / 'out.npz')
    assert counts['exported'] == 7
    assert counts['windows'] >= 4
    searching.import_index(tmp_path / 'copy', tmp_path / 'out.npz')
    copied = open_searcher(tmp_path / 'copy').search(text, moments=True)
    assert [(r.path, r.moments) for r in copied] == [
        (r.path, r.moments) for r in found
    ]


def test_moments_of_results_take_no_further_scoring(
    searcher, shapes, monkeypatch, tmp_path
):
    searcher.index(shapes, into=tmp_path / 'index', progress=False)
    text = 'a red circle rising'
    alone = {
        path: searcher.find_moments(text, path)[0]
        for path in (each.path for each in searcher.search(text))
    }
    scored = []
    score = searcher.encoder.score

    def count(query, videos):
        scored.append(len(videos.pooled))
        return score(query, videos)

    monkeypatch.setattr(searcher.encoder, 'score', count)
    found = searcher.search(text, moments=True)
    assert scored == [6]
    for hit in found:
        best, expected = hit.moments[0], alone[hit.path]
        assert (best.start, best.end) == (expected.start, expected.end)
        assert best.score == pytest.approx(expected.score, abs=1e-5)


def test_moments_need_frames(searcher, tmp_path):
    vectors = np.eye(2, searcher.encoder.width, dtype=np.float32)
    names = np.array(['one', 'two'])
    np.savez(tmp_path / 'features.npz', video=vectors, videos=names)
    searching.import_index(tmp_path / 'imported', tmp_path / 'features.npz')
    with pytest.raises(SetupError, match='no frames, from which moments'):
        query.search_texts(
            open_store(tmp_path / 'imported'),
            searcher.encoder,
            ['a star'],
            top_k=1,
            candidates=1,
            moments=True,
        )
    with pytest.raises(SetupError, match='for a text, not for a video'):
        searcher.search(video='clip.mp4', moments=True)
