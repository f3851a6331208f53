"""Files of equal content, and what tests then share with training."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

from mmtvr.apis.config_videos import ConfigVideos
from mmtvr.apis.video_findings import Finding


def share_size(paths: Iterable[str]) -> set[str]:
    """Find the files that may be equal, so that only they need be read.

    Args:
        paths: Files, some of which may be missing.

    Returns:
        Those whose size is that of another one and not zero.
    """
    by_size = defaultdict(list)
    for path in paths:
        try:
            by_size[os.path.getsize(path)].append(path)
        except OSError:
            continue
    return {
        path
        for size, group in by_size.items()
        if size and len(group) > 1
        for path in group
    }


def find_duplicates(
    videos: ConfigVideos, digests: Mapping[str, str]
) -> dict[str, list[Finding]]:
    """Find files that are used twice.

    Args:
        videos: What the config reads.
        digests: Path to digest, of files that may have an equal.

    Returns:
        Findings of each file with an equal one, and of each file that both
        training and a test use. The first of equal files is named in those
        of the others.
    """
    groups = defaultdict(list)
    for path in videos.files:
        groups[digests.get(path, path)].append(path)
    found = defaultdict(list)
    for group in groups.values():
        leak = _leak(videos, group)
        for path in group:
            equal = [other for other in group if other != path]
            if equal:
                what = f'the same content as {equal[0]}'
                if len(equal) > 1:
                    what += f' and {len(equal) - 1} more'
            elif leak:
                what = 'the same file'
            else:
                continue
            found[path].append(Finding('duplicate', what + leak))
    return dict(found)


def _leak(videos: ConfigVideos, paths: Iterable[str]) -> str:
    stages = {
        stage
        for path in paths
        for use in videos.files[path]
        for stage in videos.datasets[use.dataset].stages
    }
    tests = sorted(stages - {'train'}, reverse=True)
    if 'train' not in stages or not tests:
        return ''
    return f'; LEAK: in train and in {" and ".join(tests)}'
