"""Features that leave an index, and features of others that enter one."""

import numpy as np
import pytest

from mmtvr.apis.evaluate import load_table
from mmtvr.apis.vector_search import search_by_name, search_by_vectors
from mmtvr.errors import SetupError
from mmtvr.search.feature_files import export_features, import_features
from mmtvr.search.stores import open_store


def test_an_exported_index_is_the_same_when_it_is_imported(
    videos, index_folder, tmp_path
):
    _, _, store = index_folder([videos], tmp_path / 'index')
    assert export_features(store, tmp_path / 'features.npz') == 3
    with np.load(tmp_path / 'features.npz', allow_pickle=False) as file:
        names, pooled = file['videos'].tolist(), file['video']
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


def test_pooled_features_of_a_test_run_can_be_imported_and_evaluated(tmp_path):
    rng = np.random.default_rng(0)
    video = rng.standard_normal((5, 8)).astype(np.float32)
    path = tmp_path / 'dump.npz'
    np.savez(
        path,
        text=video * 3,
        video=video,
        text_video_ids=np.arange(5),
        video_ids=np.arange(5),
        texts=np.array(list('abcde')),
        videos=np.array([f'{n}.mp4' for n in range(5)]),
    )
    import_features(open_store(tmp_path / 'index'), path, 'float16', 4)
    found = search_by_vectors(tmp_path / 'index', video, top_k=1)
    assert [best.path for (best,) in found] == [f'{n}.mp4' for n in range(5)]
    assert load_table(path).scores.argmax(1).tolist() == list(range(5))


GOOD = dict(video=np.eye(3, dtype='f4'), videos=np.array(['a', 'b', 'c']))


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (dict(videos=np.array(['a', 'b', 'a'])), 'twice'),
        (dict(videos=np.array(['a', 'b'])), 'shape'),
        (dict(video=np.zeros((3, 4), 'f4')), 'row 0 of video is zero'),
        (dict(video=np.full((3, 4), np.nan, 'f4')), 'not finite'),
        (dict(video=np.ones((3, 4), int)), 'int64'),
        (dict(tokens=np.ones((4, 3), 'f4')), 'without token_counts'),
        (
            dict(
                tokens=np.ones((4, 3), 'f4'),
                times=np.zeros(4),
                token_counts=np.array([1, 1, 1]),
            ),
            'do not divide 4',
        ),
        (dict(videos=np.array(['a', 'b', None])), 'cannot be read'),
    ],
)
def test_a_faulty_file_is_refused_with_what_is_wrong(change, match, tmp_path):
    np.savez(tmp_path / 'bad.npz', **{**GOOD, **change})
    store = open_store(tmp_path / 'index')
    with pytest.raises(SetupError, match=match):
        import_features(store, tmp_path / 'bad.npz', 'float16', 1)
    assert store.read_about() is None
