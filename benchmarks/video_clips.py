"""Clips to measure readers with: those at hand, their copies, made ones."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmtvr.video import AutoReader, UnreadableVideoError
from mmtvr.video.compression import Compression, compress_video

SIZES = ((240, 320), (720, 1280))
RATE = 25


def group_clips(paths: Sequence[Path], copies: Path) -> dict[str, list[str]]:
    """Sort clips by kind, and add small copies of them.

    Args:
        paths: Video files and folders of such; what is no video is left out.
        copies: Where to write the copies.

    Returns:
        Files by kind: the size of the original, and whether it is the
        original or the copy at 3 frames per second and short side 224.
    """
    groups = defaultdict(list)
    for number, path in enumerate(_list_files(paths)):
        try:
            with AutoReader(path) as reader:
                height, width = reader.original_shape
        except UnreadableVideoError:
            continue
        copy = copies / f'{number}.mp4'
        compress_video(str(path), str(copy), AutoReader, Compression())
        groups[f'{width}x{height}, original'].append(str(path))
        groups[f'{width}x{height}, 3 fps'].append(str(copy))
    return dict(sorted(groups.items(), key=lambda group: _rank(group[0])))


def _rank(kind: str) -> tuple[bool, int]:
    return kind.endswith('fps'), int(kind.split('x')[0])


def _list_files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [file for file in inside if file.is_file()]
    return files


def make_clips(
    folder: Path,
    seconds: float = 10.0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> list[Path]:
    """Write H.264 clips of a moving texture, with x264's defaults.

    Args:
        folder: Where to.
        seconds: How long they are.
        sizes: Height and width of each.

    Returns:
        The files.
    """
    import av

    paths = []
    for height, width in sizes:
        paths.append(folder / f'made_{width}x{height}.mp4')
        with av.open(str(paths[-1]), 'w') as container:
            stream = container.add_stream('libx264', rate=RATE)
            stream.width, stream.height = width, height
            stream.pix_fmt = 'yuv420p'
            for picture in _pictures(height, width, int(RATE * seconds)):
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths


def _pictures(height: int, width: int, count: int) -> list[np.ndarray]:
    """Parts of one large soft texture, along a curve."""
    import cv2

    margin = 64
    random = np.random.default_rng(0)
    grain = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    whole = (width + margin, height + margin)
    texture = cv2.resize(grain, whole, interpolation=cv2.INTER_CUBIC)
    steps = 2 * np.pi * np.arange(count) / (4 * RATE)
    tops = (margin * (1 + np.sin(steps)) / 2).astype(int)
    lefts = (margin * (1 + np.cos(1.3 * steps)) / 2).astype(int)
    return [
        np.ascontiguousarray(texture[top : top + height, left : left + width])
        for top, left in zip(tops, lefts, strict=True)
    ]
