"""Where the time of reading one video goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median
from unittest.mock import patch

from benchmarks.benchmark_supervision import count_cpu
from benchmarks.video_ways import TIME_LIMIT, Mmtvr
from mmtvr.video import AutoReader
from mmtvr.video.pictures import PictureMaker
from mmtvr.video.sampling import sample_uniformly


def break_down(
    path: str, num_frames: int, size: int, repeats: int
) -> dict[str, float]:
    """Measure the parts of the work on a video.

    Args:
        path: The file.
        num_frames: Frames to read.
        size: Short side, and side of the crop.
        repeats: How often.

    Returns:
        Milliseconds of CPU time, medians: ``open`` the file and look at its
        packets; ``decode``; ``scale`` and convert to RGB; ``crop`` and all
        else that the transforms and the sampling do; ``hand_over`` from the
        helper process; and ``all``.
    """
    rows = [_read_once(path, num_frames, size) for _ in range(repeats + 1)]
    parts = {name: median(row[name] for row in rows[1:]) for name in rows[0]}
    ways = {
        limit: partial(Mmtvr(num_frames, size, True, limit), path)
        for limit in (None, TIME_LIMIT)
    }
    for way in ways.values():
        way()
    direct, helped = (count_cpu(way, repeats) for way in ways.values())
    parts['crop'] = direct - sum(parts.values())
    return dict(**parts, hand_over=helped - direct, all=helped)


def _read_once(path: str, num_frames: int, size: int) -> dict[str, float]:
    """Read without a helper, and note what each part takes."""
    start = time.process_time()
    with AutoReader(path, size) as reader:
        opened = time.process_time()
        indices = sample_uniformly(len(reader), num_frames, random=False)
        with _count_scaling() as scaling:
            reader.get_frames(indices)
        end = time.process_time()
    scale = 1000 * sum(scaling)
    return dict(
        open=1000 * (opened - start),
        decode=1000 * (end - opened) - scale,
        scale=scale,
    )


@contextmanager
def _count_scaling() -> Iterator[list[float]]:
    seconds: list[float] = []
    make = PictureMaker.make

    def timed(maker: PictureMaker, *arguments: object) -> None:
        start = time.process_time()
        make(maker, *arguments)
        seconds.append(time.process_time() - start)

    with patch.object(PictureMaker, 'make', timed):
        yield seconds
