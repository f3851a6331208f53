"""What equal captions of different videos cost any system."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from .video_captions import VideoCaptions


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
