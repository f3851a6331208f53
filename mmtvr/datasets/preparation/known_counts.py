"""What published splits hold, and what their equal captions cost."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from mmtvr.datasets.annotations import VideoCaptions


class Count(NamedTuple):
    """Size of a split; None where no number is established.

    Attributes:
        videos: Number of videos.
        captions: Number of captions before paragraphs are joined.
    """

    videos: int | None
    captions: int | None


KNOWN_COUNTS: dict[str, dict[str, Count]] = {
    'msrvtt': {
        'train_9k': Count(9000, 180000),
        'train_7k': Count(7010, 140200),
        'train_full': Count(6513, 130260),
        'val_full': Count(497, 9940),
        'test_full': Count(2990, 59800),
        'test_JSFUSION': Count(1000, 1000),
    },
    'msvd': {
        'train': Count(1200, 48774),
        'val': Count(100, 4290),
        'test': Count(670, 27763),
    },
    'didemo': {
        'train': Count(8392, None),
        'val': Count(1065, 4109),
        'test': Count(1004, 3932),
    },
    'activitynet': {
        'train': Count(10009, 37421),
        'val_1': Count(4917, 17505),
        'val_2': Count(4885, 17031),
    },
    'lsmdc': {
        'train': Count(101079, 101079),
        'val': Count(None, None),
        'test': Count(1000, 1000),
    },
    'vatex': {
        'train': Count(25991, 259910),
        'val': Count(1500, 15000),
        'test': Count(1500, 15000),
    },
}

PARAGRAPH = '_paragraph'


def compare_videos(dataset: str, split: str, count: int) -> str:
    """Compare a number of videos with the known one.

    Args:
        dataset: Name of the data set.
        split: Name of the split, with ``_paragraph`` where captions were
            joined.
        count: Number of videos at hand.

    Returns:
        The number, ``ok`` or ``not N`` where a number N is known.
    """
    known = KNOWN_COUNTS.get(dataset, {}).get(split.removesuffix(PARAGRAPH))
    return _compare(count, known and known.videos)


def compare_captions(dataset: str, split: str, count: int) -> str:
    """Compare a number of captions with the known one.

    Args:
        dataset: Name of the data set.
        split: Name of the split; nothing is known of joined captions.
        count: Number of captions at hand.

    Returns:
        The number, ``ok`` or ``not N`` where a number N is known.
    """
    known = KNOWN_COUNTS.get(dataset, {}).get(split)
    return _compare(count, known and known.captions)


def _compare(count: int, known: int | None) -> str:
    if known is None:
        return f'{count:,}'
    return f'{count:,} ok' if count == known else f'{count:,} not {known:,}'


def count_shared_captions(videos: Sequence[VideoCaptions]) -> int:
    """Count captions that stand word for word at another video too.

    Args:
        videos: A split.

    Returns:
        Number of captions, each occurrence counted.
    """
    return sum(
        sum(counts.values())
        for counts in _videos_of_captions(videos).values()
        if len(counts) > 1
    )


def best_strict_recall(videos: Sequence[VideoCaptions]) -> float:
    """Text-to-video R@1 that no system can exceed without luck.

    Equal texts get equal rankings, so of the videos that share a caption only
    one can stand first, best the one that has the caption most often.

    Args:
        videos: The test split.

    Returns:
        Percent, 0 to 100, over all captions as queries.
    """
    groups = _videos_of_captions(videos).values()
    reachable = sum(max(counts.values()) for counts in groups)
    total = sum(len(video.captions) for video in videos)
    return 100.0 * reachable / total


def _videos_of_captions(
    videos: Sequence[VideoCaptions],
) -> dict[str, Counter[int]]:
    groups: dict[str, Counter[int]] = defaultdict(Counter)
    for number, video in enumerate(videos):
        for caption in video.captions:
            groups[caption][number] += 1
    return groups
