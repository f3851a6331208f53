"""Own videos: matched, divided without leaks, and what is alike in them."""

import pytest

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.caption_formats import CaptionSource, VideoNames
from mmtvr.datasets.own_data import (
    OwnData,
    divide,
    find_near_duplicates,
    match_videos,
)
from mmtvr.errors import SetupError

SHARES = dict(val=0.1, test=0.2)


@pytest.fixture
def folder(tmp_path):
    """Twenty files, two of which have the same content."""
    for number in range(20):
        content = f'film {number if number < 19 else 0:02}'
        (tmp_path / f'{number:02}.mp4').write_text(content)
    return tmp_path


def make(names, split=''):
    return OwnData(
        {split: [VideoCaptions(f'{n:02}.mp4', (f'film {n}',)) for n in names]}
    )


def files(splits):
    return {
        name: {video.file for video in videos}
        for name, videos in splits.items()
    }


def test_no_file_and_no_equal_content_is_on_two_sides(folder):
    data = make(range(20))
    spans = [VideoCaptions('05.mp4', ('x',), float(s)) for s in range(5)]
    data.splits[''] += spans
    splits, notes = divide(data, folder, SHARES)
    found = files(splits)
    assert list(found) == ['train', 'val', 'test']
    assert [len(each) for each in found.values()] == pytest.approx(
        [13, 2, 4], abs=1
    )
    assert sum(map(len, found.values())) == 20
    assert any({'00.mp4', '19.mp4'} <= each for each in found.values())
    assert sum(map(len, splits.values())) == 25
    assert any('content of another' in note for note in notes)
    assert divide(data, folder, SHARES)[0] == splits


def test_a_larger_table_moves_few_videos(folder):
    before = files(divide(make(range(18)), folder, SHARES)[0])
    after = files(divide(make(range(19)), folder, SHARES)[0])
    assert len(before['train'] & after['train']) >= len(before['train']) - 1


def test_splits_of_the_data_stay_and_missing_ones_come_from_train(folder):
    data = make(range(10), 'train')
    data.splits |= make(range(10, 15), 'test').splits
    splits, notes = divide(data, folder, SHARES)
    assert {name: len(videos) for name, videos in splits.items()} == {
        'train': 9,
        'val': 1,
        'test': 5,
    }
    assert 'splits as the captions name them' in notes[0]


@pytest.mark.parametrize('other', ['00.mp4', '19.mp4'])
def test_a_video_in_two_splits_is_refused(folder, other):
    data = make(range(10), 'train')
    data.splits['test'] = [VideoCaptions(other, ('x',))]
    with pytest.raises(SetupError, match=f'{other}.* is in train and in test'):
        divide(data, folder, SHARES)


def test_what_cannot_be_divided_is_refused(folder):
    with pytest.raises(SetupError, match='2 videos cannot be divided'):
        divide(make(range(2)), folder, SHARES)
    data = make(range(10), 'train')
    data.splits |= make([11]).splits
    with pytest.raises(SetupError, match='1 videos have no split'):
        divide(data, folder, SHARES)
    assert files(divide(make(range(2)), folder, {})[0]) == {
        'train': {'00.mp4', '01.mp4'}
    }


def test_rows_without_a_video_are_left_out_and_counted(folder):
    source = CaptionSource('table')
    for name, caption in (('03', 'x'), ('99', 'y'), ('04.mp4', '')):
        source.add('here', name, caption)
    data = match_videos(source, VideoNames(folder), None)
    assert data.splits == {'': [VideoCaptions('03.mp4', ('x',))]}
    assert sorted(each.kind for each in data.left_out) == [
        'no caption',
        'no such video',
    ]
    source.rows = []
    with pytest.raises(SetupError, match='none of 1 rows of the table'):
        match_videos(source, VideoNames(folder), None)


def test_near_duplicates_differ_by_a_word_at_most():
    captions = {
        'a.mp4': ('A dog runs over the grass.', 'a red circle'),
        'b.mp4': ('a dog runs over grass', 'a blue circle'),
        'c.mp4': ('a cat runs over the grass', 'A red circle!'),
        'd.mp4': ('the cat of my sister sleeps',) * 2,
    }
    videos = [VideoCaptions(*each) for each in captions.items()]
    found = find_near_duplicates({'train': videos[:2], 'test': videos[2:]})
    # The dogs, the cat on the grass, and the two red circles.
    assert (found.captions, found.across) == (5, 4)
    pairs = {frozenset(text for _, text in pair) for pair in found.examples}
    assert {'a red circle', 'A red circle!'} in pairs
