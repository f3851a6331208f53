"""Random batches and videos to measure with."""

from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch import Tensor

SIZES = ((240, 320), (720, 1280))
RATE = 25


def draw_batch(
    pieces: int, batch: int, words: int, frames: int, size: int, device: str
) -> dict[str, Tensor]:
    """Draw pairs without padding, as a preprocessor gives them.

    ``pieces`` is the largest id of a word piece.
    """
    rows = torch.arange(batch, device=device)
    shape = (batch, frames, 3, size, size)
    return dict(
        tokens=torch.randint(1, pieces, (batch, words), device=device),
        token_mask=torch.ones(batch, words, device=device).bool(),
        frames=torch.randint(256, shape, dtype=torch.uint8, device=device),
        frame_mask=torch.ones(batch, frames, device=device).bool(),
        video_of_text=rows,
        video_ids=rows,
    )


def make_clips(
    folder: Path,
    seconds: float = 10.0,
    sizes: Sequence[tuple[int, int]] = SIZES,
) -> list[Path]:
    """Write H.264 clips of a moving texture, with x264's defaults."""
    paths = []
    for height, width in sizes:
        paths.append(folder / f'synthetic_{width}x{height}.mp4')
        with av.open(str(paths[-1]), 'w') as container:
            stream = container.add_stream('libx264', rate=RATE)
            stream.width, stream.height = width, height
            stream.pix_fmt = 'yuv420p'
            for image in _draw_texture(height, width, int(RATE * seconds)):
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths


def _draw_texture(height: int, width: int, count: int) -> list[np.ndarray]:
    """Parts of one large soft texture, along a curve."""
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


def make_noise_videos(folder: Path) -> list[str]:
    """Write three small videos of noise: MP4, MKV and AVI."""
    noise = np.random.default_rng(0)
    paths = []
    for name in ('a.mp4', 'b.mkv', 'c.avi'):
        paths.append(str(folder / name))
        kind = 'mpeg4' if name.endswith('avi') else 'libx264'
        with av.open(paths[-1], 'w') as container:
            stream = container.add_stream(kind, rate=25)
            stream.width, stream.height = 160, 120
            stream.pix_fmt = 'yuv420p'
            for _ in range(60):
                image = noise.integers(0, 255, (15, 20, 3), np.uint8)
                image = image.repeat(8, 0).repeat(8, 1)
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    return paths
