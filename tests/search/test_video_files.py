"""Files whose names are made to break things."""

import json
import os

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search import progress
from mmtvr.search.progress import read_progress
from mmtvr.search.query import search_similar
from mmtvr.search.stores.base import FileEntry
from mmtvr.search.video_dataset import ReadVideo, VideosToRead
from mmtvr.search.video_files import find_videos

NAMES = [
    b"quote's.mp4",
    b'double"quote.mp4',
    b'new\nline.mp4',
    b'tab\tand\rreturn.mp4',
    b"'); DROP TABLE videos; --.mp4",
    b'{format} %s $HOME `id`.mp4',
    b'-rf.mp4',
    b'<script>alert(1)</script>.mp4'.replace(b'/', b'_'),
    'snowman ☃ and \u202eright-to-left.mp4'.encode(),
    b'not utf-8 \xff\xfe.mp4',
    b'x' * 240 + b'.mp4',
    b' leading and trailing .mp4',
    b'back\\slash.mp4',
]


@pytest.fixture
def hostile(tmp_path):
    """A folder, deep and with circles, of files with hostile names."""
    folder = tmp_path / "a folder's #1 100% ü"
    deep = folder / 'deep' / ('y' * 200)
    deep.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        place = (folder, deep)[number % 2]
        path = os.path.join(os.fsencode(place), name)
        with open(path, 'wb') as file:
            file.write(b'%d' % number)
    (deep / 'circle').symlink_to(folder)
    (folder / 'itself.mp4').symlink_to(folder / 'itself.mp4')
    (folder / 'nowhere.mp4').symlink_to('/nonexistent/file.mp4')
    os.mkfifo(folder / 'pipe.mp4')
    (folder / 'a folder.mp4').mkdir()
    return folder


def test_every_file_is_found_once_and_nothing_else(hostile):
    found = find_videos([hostile])
    names = [os.path.basename(os.fsencode(v.path)) for v in found.videos]
    assert sorted(names) == sorted(NAMES)
    # Neither lost without a word: a circle, a link to nothing, a pipe.
    reasons = {os.path.basename(p): why for p, why in found.closed.items()}
    assert sorted(reasons) == ['itself.mp4', 'nowhere.mp4', 'pipe.mp4']
    assert '/nonexistent/file.mp4' in reasons['nowhere.mp4']


def test_a_folder_of_pictures_is_no_folder_of_videos(tmp_path, index_folder):
    for number in range(3):
        (tmp_path / f'{number}.PNG').write_bytes(b'%d' % number)
    (tmp_path / 'notes').write_text('none')
    counted = r"no video in '.*', only 4 other files \(3 .png, 1 without ext"
    with pytest.raises(SetupError, match=counted):
        index_folder([tmp_path], tmp_path / 'index')
    # As a shell gives them for DIR/*.
    pictures = sorted(tmp_path.glob('*.PNG'))
    with pytest.raises(SetupError, match=r'only 3 other files \(3 .png\)'):
        index_folder(pictures, tmp_path / 'index')
    assert not (tmp_path / 'index').exists()
    video = tmp_path / 'video.mp4'
    video.write_bytes(b'video')
    report, encoded, _ = index_folder([video, *pictures], tmp_path / 'index')
    assert (encoded, report.others) == ([str(video)], {'.png': 3})


def test_a_video_behind_a_link_that_broke_stays_in_the_index(
    tmp_path, index_folder
):
    disk, folder = tmp_path / 'disk', tmp_path / 'folder'
    disk.mkdir()
    folder.mkdir()
    for place in (disk, folder):
        (place / 'a.mp4').write_bytes(place.name.encode())
    (folder / 'link.mp4').symlink_to(disk / 'a.mp4')
    assert index_folder([folder], tmp_path / 'index')[0].videos == 2
    (disk / 'a.mp4').unlink()
    report, _, _ = index_folder([folder], tmp_path / 'index')
    assert (report.videos, report.removed) == (2, 0)
    assert 'leads nowhere' in report.unreadable[str(folder / 'link.mp4')]


def test_hostile_names_come_back_from_an_index_as_they_were(
    hostile, index_folder, tmp_path
):
    where = tmp_path / "index's place #2 100% ü"
    report, encoded, _ = index_folder([hostile], where)
    assert len(encoded) == report.videos == len(NAMES)
    report, encoded, store = index_folder([hostile], where)
    assert (encoded, report.unchanged) == ([], len(NAMES))
    stored = {entry.path for entry in store.list_files()}
    assert stored == {video.path for video in find_videos([hostile]).videos}
    for entry in store.list_files():
        video = store.read_videos([entry.content])
        best = search_similar(store, video, 1, 10)[0]
        assert best.path == entry.path
        assert np.isclose(best.score, 1, atol=1e-3)


def test_an_entry_survives_json():
    path = os.fsdecode(b'/videos/\xff"\n.mp4')
    entry = FileEntry(path, 'abc', 5, (1, 2), '/videos', 1.5, None)
    assert entry.to_json().isascii()
    assert FileEntry.from_json(entry.to_json()) == entry
    other = FileEntry(path, 'abc', start=2.5)
    assert other.key != entry.key


def test_a_pipe_is_told_and_not_waited_for(tmp_path):
    pipe = tmp_path / 'pipe.mp4'
    os.mkfifo(pipe)
    found = find_videos([pipe]).videos
    (read,) = VideosToRead(found, pipeline=None)
    assert read == ReadVideo('', error='it is not a regular file')


def test_progress_is_there_while_files_are_indexed(
    index_folder, videos, tmp_path, monkeypatch
):
    seen = []
    monkeypatch.setattr(progress, 'SECONDS_BETWEEN', 0)
    add = progress.ProgressFile.add

    def look(file, failed):
        add(file, failed)
        seen.append(read_progress(str(tmp_path / 'index')))

    monkeypatch.setattr(progress.ProgressFile, 'add', look)
    index_folder([videos], tmp_path / 'index')
    assert [(now.done, now.total) for now in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0].is_running
    assert read_progress(str(tmp_path / 'index')) is None
    file = tmp_path / 'index' / progress.NAME
    file.write_text(json.dumps({**vars(seen[0]), 'pid': 2**22 + 1}))
    assert not read_progress(str(tmp_path / 'index')).is_running
