"""Long videos, which are indexed in windows too."""

from dataclasses import replace

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.encoder import EncodedVideo
from mmtvr.search.indexing import Indexer, choose_windows
from mmtvr.search.query import search_by_name, search_by_vectors
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import FileEntry, whole_content
from mmtvr.search.video_dataset import name_content
from mmtvr.search.video_files import FoundVideo, find_videos, plan_windows
from tests.search.conftest import draw

WINDOWS = dict(format=2, window=10.0, overlap=4.0)


class LongEncoder:
    """Takes a file for as many seconds as it says; lists what it encodes."""

    batch_size = 1

    def __init__(self, stop_after=None, broken=()):
        self.encoded = []
        self.stop_after = stop_after
        self.broken = broken

    def encode_videos(self, videos, workers=0, known=frozenset()):
        for video in videos:
            content = name_content(video)
            if content in known:
                yield EncodedVideo(content)
                continue
            if len(self.encoded) == self.stop_after:
                raise KeyboardInterrupt
            self.encoded.append((video.start, video.end))
            if video.start in self.broken:
                yield EncodedVideo(content, error='damaged')
                continue
            with open(video.path) as file:
                seconds = float(file.read().split()[0])
            features = draw(content)
            times = features.times + (video.start or 0)
            features = features._replace(times=times)
            yield EncodedVideo(content, features, seconds=seconds)


@pytest.fixture
def index_long(about):
    """Function that indexes a folder, and returns what was done."""

    def run(folder, into, asked=None, facts=WINDOWS, **options):
        store, encoder = open_store(into), LongEncoder(**options)
        info = {**about, **facts}
        indexer = Indexer(store, encoder, info, asked, progress=False)
        try:
            report = indexer.run(find_videos([folder]))
        except KeyboardInterrupt:
            report = None
        return report, encoder.encoded, store

    return run


@pytest.fixture
def folder(tmp_path):
    """A long video and a short one; their first word is their seconds."""
    found = tmp_path / 'videos'
    found.mkdir()
    (found / 'long.mp4').write_text('24 long')
    (found / 'short.mp4').write_text('10 short')
    return found


def facts_of(store):
    """Everything that an index holds, comparable."""
    files = sorted(store.list_files(), key=lambda each: each.path)
    contents = sorted(store.list_contents())
    videos = store.read_videos(contents)
    return [
        [replace(each, size=0, changed=(0, 0)) for each in files],
        contents,
        videos.pooled.tolist(),
        [times.tolist() for times in videos.times],
    ]


def test_windows_overlap_and_the_last_goes_to_the_end():
    facts = dict(window=60.0, overlap=20.0)

    def spans(seconds, **span):
        video = FoundVideo('a.mp4', 'here', **span)
        found = plan_windows(video, 'c' * 32, seconds, facts)
        assert all(each[:2] == ('a.mp4', 'here') for each in found)
        numbers = [each.content for each in found]
        assert numbers == [f'{"c" * 32}{n:04x}' for n in range(len(found))]
        return [each[2:4] for each in found]

    assert spans(60.0) == []
    assert spans(60.1) == [(0, 60), (40, None)]
    assert spans(100.0) == [(0, 60), (40, None)]
    assert spans(150.0) == [(0, 60), (40, 100), (80, 140), (120, None)]
    # Of a span of a file, within it.
    assert spans(80.0, start=5.0, end=85.0) == [(5, 65), (45, 85)]
    assert plan_windows(FoundVideo('a.mp4'), 'c' * 32, 1e3, {}) == []
    assert len(spans(3600.0)) == 90
    with pytest.raises(ValueError, match=r'at most 65536.*--window'):
        spans(3e6)


def test_a_long_video_has_windows_and_is_one_file(folder, index_long, place):
    report, encoded, store = index_long(folder, place)
    assert (report.videos, report.encoded, report.windows) == (2, 2, 4)
    spans = [(0.0, 10.0), (6.0, 16.0), (12.0, 22.0), (18.0, None)]
    assert sorted(encoded, key=str) == sorted(
        [(None, None)] * 2 + spans, key=str
    )
    assert store.count_files() == 2
    entries = {each.path[-8:]: each for each in store.list_files()}
    long = entries['long.mp4']
    assert (long.windows, entries['hort.mp4'].windows) == (4, 0)
    videos = store.read_videos(long.contents)
    assert len(videos.contents) == 5
    assert [times[0] for times in videos.times] == [0, 0, 6, 12, 18]
    assert set(map(whole_content, videos.contents)) == {long.content}
    report, encoded, _ = index_long(folder, place)
    assert (report.unchanged, report.windows, encoded) == (2, 0, [])


def test_windows_that_an_engine_loses_meanwhile_are_made_again(
    folder, index_long, tmp_path, monkeypatch
):
    _, _, whole = index_long(folder, tmp_path / 'whole', broken={6.0})
    store_type = type(whole)
    put, lost = store_type.put_files, []

    def put_and_lose(store, entries):
        put(store, entries)
        # The last window; names of whole videos are shorter.
        last = max(store.list_contents(), key=lambda c: (len(c), c))
        if not lost and last != whole_content(last):
            lost.append(last)
            store.remove_videos(lost)

    monkeypatch.setattr(store_type, 'put_files', put_and_lose)
    with pytest.warns(UserWarning, match='lost the features of 1 videos'):
        report, encoded, store = index_long(
            folder, tmp_path / 'index', broken={6.0}
        )
    assert facts_of(store) == facts_of(whole)
    assert (report.videos, report.encoded, report.windows) == (2, 3, 4)
    (why,) = report.unreadable_windows.values()
    assert why.startswith('1 of 4 windows, the first from 6 s')
    # What was not lost is not encoded again.
    assert encoded.count((0.0, 10.0)) == 1
    assert encoded.count((None, None)) == 3


def test_copies_share_windows_which_leave_with_the_last(
    folder, index_long, tmp_path
):
    copy = folder / 'copy.mp4'
    copy.write_text('24 long')
    place = tmp_path / 'index'
    report, _, store = index_long(folder, place)
    assert (report.encoded, report.reused, report.windows) == (2, 1, 4)
    assert [each.windows for each in store.list_files()].count(4) == 2
    (folder / 'long.mp4').rename(folder / 'renamed.mp4')
    report, encoded, store = index_long(folder, place)
    assert (report.reused, encoded) == (1, [])
    assert len(store.list_contents()) == 6
    copy.unlink()
    _, _, store = index_long(folder, place)
    assert len(store.list_contents()) == 6
    # It has become shorter: its windows go.
    (folder / 'renamed.mp4').write_text('9 changed')
    report, _, store = index_long(folder, place)
    assert (report.videos, len(store.list_contents())) == (2, 2)


@pytest.mark.parametrize('encoded_before', [2, 3, 4, 5])
def test_a_stopped_pass_goes_on_between_windows(
    folder, index_long, tmp_path, encoded_before
):
    _, _, store = index_long(folder, tmp_path / 'whole')
    expected = facts_of(store)
    place = tmp_path / 'stopped'
    report, encoded, _ = index_long(folder, place, stop_after=encoded_before)
    assert report is None
    report, again, store = index_long(folder, place)
    assert facts_of(store) == expected
    # Only the whole of the long video is read twice.
    assert set(encoded) & set(again) <= {(None, None)}


def test_windows_that_cannot_be_read_are_reported(
    folder, index_long, tmp_path
):
    report, _, store = index_long(folder, tmp_path / 'index', broken=[6.0])
    assert (report.videos, report.windows, report.unreadable) == (2, 3, {})
    assert report.unreadable_windows == {
        str(folder / 'long.mp4'): '1 of 4 windows, the first from 6 s: damaged'
    }
    (long,) = [each for each in store.list_files() if each.windows]
    assert len(store.read_videos(long.contents).contents) == 4


def test_an_older_index_gets_no_windows(folder, index_long, tmp_path):
    place = tmp_path / 'index'
    index_long(folder / 'short.mp4', place, facts={})
    report, _, store = index_long(folder, place)
    assert (report.windows, len(store.list_contents())) == (0, 2)
    # And stays one that older versions read.
    assert not any('windows' in each.to_json() for each in store.list_files())
    with pytest.raises(SetupError, match=r'with window 0, .*window 10\.0 out'):
        index_long(folder, place, asked=dict(window=10.0))


def test_lengths_of_windows_are_checked():
    assert choose_windows(None, None)['overlap'] == 20
    assert choose_windows(0, None) == {}
    with pytest.raises(
        SetupError, match='window must be at least 0 s, got -1'
    ):
        choose_windows(-1, None)
    with pytest.raises(SetupError, match='less than the window of 30 s'):
        choose_windows(30, 30)
    with pytest.raises(SetupError, match='got nan'):
        choose_windows(30, float('nan'))


def test_a_long_video_is_one_result(folder, index_long, place):
    for number in range(3):
        (folder / f'other{number}.mp4').write_text(f'5 other{number}')
    _, _, store = index_long(folder, place)
    (long,) = [each for each in store.list_files() if each.windows]
    # In the middle of the parts of the long video, so that they are nearest.
    videos = store.read_videos(long.contents)
    query = videos.pooled.sum(0)
    (found,) = search_by_vectors(place, query[None], top_k=4, candidates=1)
    assert len({each.path for each in found}) == len(found) == 4
    assert [each.rank for each in found] == [1, 2, 3, 4]
    best = videos.pooled @ (query / np.linalg.norm(query))
    (hit,) = [each for each in found if each.path == long.path]
    assert hit.score == pytest.approx(best.max(), abs=1e-3)
    # One that is like a window is not its own neighbour either.
    names = [each.path for each in search_by_name(place, long.path)]
    assert len(names) == 4
    assert long.path not in names


def test_an_entry_without_windows_is_written_as_before():
    entry = FileEntry('a.mp4', 'c' * 32)
    assert 'windows' not in entry.to_json()
    assert FileEntry.from_json(entry.to_json()) == entry
    long = replace(entry, windows=2)
    assert FileEntry.from_json(long.to_json()) == long
    assert entry.contents == ['c' * 32]
    assert [each[32:] for each in long.contents] == ['', '0000', '0001']
