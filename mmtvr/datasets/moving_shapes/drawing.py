"""Draw shots of shapes as pictures."""

import numpy as np
from numpy.random import Generator

from .scene import COLOURS, MOTIONS, Actor, Scene, Shot

SIZE = 54
SMALLEST, LARGEST = 7.0, 9.0
STEP = 6.0
BACKGROUND = (20, 90)
NOISE = 6.0
PIXELS = np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), -1, dtype='f4')


def draw_frames(scene: Scene, rng: Generator) -> np.ndarray:
    """Draw all frames of a video.

    Args:
        scene: The shots.
        rng: Source of places, sizes, backgrounds and noise.

    Returns:
        Shape (T, 54, 54, 3), uint8, RGB.
    """
    return np.concatenate([draw_shot(shot, rng) for shot in scene])


def draw_shot(shot: Shot, rng: Generator) -> np.ndarray:
    """Draw a shot: actors on a grey of its own, with some noise.

    Args:
        shot: Actors and number of frames.
        rng: Source of the random numbers.

    Returns:
        Shape (shot.frames, 54, 54, 3), uint8, RGB.
    """
    shape = (shot.frames, SIZE, SIZE, 3)
    frames = np.full(shape, rng.uniform(*BACKGROUND), np.float32)
    radii = rng.uniform(SMALLEST, LARGEST, len(shot.actors))
    paths = _place(shot, radii, rng)
    for actor, radius, path in zip(shot.actors, radii, paths, strict=True):
        _paint(frames, actor, radius, path)
    frames += NOISE * rng.standard_normal(shape, np.float32)
    return frames.clip(0, 255).astype(np.uint8)


def _place(shot: Shot, radii: np.ndarray, rng: Generator) -> np.ndarray:
    """Find paths inside the picture on which actors never touch.

    Returns:
        Shape (actors, frames, 2), centres (x, y) in pixels.
    """
    steps = STEP * np.array([MOTIONS[actor.motion] for actor in shot.actors])
    moves = steps[:, None] * np.arange(shot.frames)[None, :, None]
    low = radii[:, None] - moves.min(axis=1)
    high = SIZE - radii[:, None] - moves.max(axis=1)
    while True:
        paths = rng.uniform(low, high)[:, None] + moves
        gaps = np.linalg.norm(paths[:1] - paths[1:], axis=-1)
        # The corner of a square reaches beyond its radius.
        if (gaps > 1.2 * radii.sum()).all():
            return paths


def _paint(
    frames: np.ndarray, actor: Actor, radius: float, path: np.ndarray
) -> None:
    """Blend an actor into its frames, with an edge one pixel soft."""
    centres = path[:, None, None].astype(np.float32)
    x, y = np.moveaxis((PIXELS - centres) / np.float32(radius), -1, 0)
    inside = 0.5 - radius * _distance(actor.shape, x, y)
    opacity = inside.clip(0, 1)[..., None]
    frames += opacity * (np.float32(COLOURS[actor.colour]) - frames)


def _distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, in radii, negative inside."""
    wide, tall = np.abs(x), np.abs(y)
    round_ = np.hypot(x, y)
    match shape:
        case 'circle':
            return round_ - 0.95
        case 'square':
            return np.maximum(wide, tall) - 0.82
        case 'triangle':
            return np.maximum(0.88 * wide - 0.48 * (y + 0.95), y - 0.7)
        case 'cross':
            long, short = np.maximum(wide, tall), np.minimum(wide, tall)
            return np.maximum(long - 1.0, short - 0.3)
        case 'ring':
            return np.abs(round_ - 0.72) - 0.24
        case 'bar':
            return np.maximum(wide - 1.0, tall - 0.36)
    raise ValueError(f'there is no shape {shape!r}')
