"""What the shapes videos show: scenes, their frames and their captions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

COLOURS = {
    'red': (225, 45, 40),
    'green': (50, 180, 70),
    'blue': (50, 90, 230),
    'yellow': (240, 215, 50),
    'purple': (160, 60, 190),
    'white': (240, 240, 240),
}
SHAPES = ('circle', 'square', 'triangle', 'cross', 'ring', 'bar')
MOTIONS = {
    # word: steps to the right and down
    'resting': (0, 0),
    'rising': (0, -1),
    'falling': (0, 1),
    'passing': (1, 0),
}
WORDS = ('a', 'and', 'then', *COLOURS, *SHAPES, *MOTIONS)

NUM_SHOTS = 3
SHOTS_PER_CAPTION = 2
SHOT_FRAMES = (2, 3)


class Actor(NamedTuple):
    """A shape of a shot; each field is one word of a caption."""

    colour: str
    shape: str
    motion: str


class Shot(NamedTuple):
    """One or two different actors, shown for two or three frames."""

    actors: tuple[Actor, ...]
    frames: int


Scene = tuple[Shot, ...]


def draw_scenes(count: int, rng: Generator) -> list[Scene]:
    """Draw videos of which no caption is true of another.

    They come in pairs: the second of each two is made of the first by
    :func:`change_words`.
    """
    scenes: list[Scene] = []
    showing: dict[Actor, list[Scene]] = defaultdict(list)
    while len(scenes) < count:
        is_second = len(scenes) % 2
        scene = change_words(scenes[-1], rng) if is_second else draw_scene(rng)
        actors = [actor for shot in scene for actor in shot.actors]
        # A caption names two actors or more, so only videos that share as
        # many can clash.
        shared = Counter(other for actor in actors for other in showing[actor])
        if any(_clash(scene, other) for other in shared if shared[other] > 1):
            continue
        scenes.append(scene)
        for actor in actors:
            showing[actor].append(scene)
    return scenes


def draw_scene(rng: Generator) -> Scene:
    """Draw the three shots of a video; no two show a common actor."""
    while True:
        shots = tuple(_draw_shot(rng) for _ in range(NUM_SHOTS))
        if _is_clear(shots):
            return shots


def draw_still(rng: Generator) -> Shot:
    """Draw a shot of one frame whose actors differ in colour or shape."""
    while True:
        shot = _draw_shot(rng)._replace(frames=1)
        if _is_clear([shot]):
            return shot


def change_words(scene: Scene, rng: Generator) -> Scene:
    """Make a hard negative: change one word in all shots but one.

    Every caption describes two shots, so each caption of the one video
    differs from the same caption of the other, and two of the three by one
    word. The new video has as many actors and frames.
    """
    while True:
        shots = list(scene)
        for place in rng.permutation(NUM_SHOTS)[1:]:
            shots[place] = _change_word(shots[place], rng)
        if _is_clear(shots):
            return tuple(shots)


def describe_shots(scene: Scene) -> Iterator[Scene]:
    """What each caption describes: two of three shots, in their order."""
    return combinations(scene, SHOTS_PER_CAPTION)


def write_caption(shots: Scene) -> str:
    """``'a red circle rising and a blue bar resting then a ...'``."""
    return ' then '.join(
        ' and '.join(f'a {" ".join(actor)}' for actor in shot.actors)
        for shot in shots
    )


def is_true_of(described: Scene, scene: Scene) -> bool:
    """Whether shots of a video, in the same order, show all actors described.

    Args:
        described: What a caption describes.
        scene: Any video.
    """
    return any(
        all(
            set(part.actors) <= set(shot.actors)
            for part, shot in zip(described, shots, strict=True)
        )
        for shots in describe_shots(scene)
    )


def _clash(one: Scene, other: Scene) -> bool:
    return any(is_true_of(part, other) for part in describe_shots(one)) or any(
        is_true_of(part, one) for part in describe_shots(other)
    )


def _draw_shot(rng: Generator) -> Shot:
    actors = tuple(_draw_actor(rng) for _ in range(rng.integers(1, 3)))
    return Shot(actors, int(rng.choice(SHOT_FRAMES)))


def _draw_actor(rng: Generator) -> Actor:
    return Actor(
        _choose(COLOURS, rng), _choose(SHAPES, rng), _choose(MOTIONS, rng)
    )


def _change_word(shot: Shot, rng: Generator) -> Shot:
    actors = list(shot.actors)
    place = rng.integers(len(actors))
    words = list(actors[place])
    field = rng.integers(len(words))
    choices = (COLOURS, SHAPES, MOTIONS)[field]
    words[field] = _choose((w for w in choices if w != words[field]), rng)
    actors[place] = Actor(*words)
    return shot._replace(actors=tuple(actors))


def _is_clear(shots: Iterable[Shot]) -> bool:
    """Whether colour and shape alone name every actor of a video."""
    names = [actor[:2] for shot in shots for actor in shot.actors]
    return len(set(names)) == len(names)


def _choose(words: Iterable[str], rng: Generator) -> str:
    words = tuple(words)
    return words[rng.integers(len(words))]


SIZE = 54
SMALLEST, LARGEST = 7.0, 9.0
STEP = 6.0
BACKGROUND = (20, 90)
NOISE = 6.0
PIXELS = np.stack(np.meshgrid(*[np.arange(SIZE) + 0.5] * 2), -1, dtype='f4')


def draw_frames(scene: Scene, rng: Generator) -> np.ndarray:
    """Draw all frames of a video: (T, 54, 54, 3), uint8, RGB."""
    return np.concatenate([draw_shot(shot, rng) for shot in scene])


def draw_shot(shot: Shot, rng: Generator) -> np.ndarray:
    """Draw a shot: actors on a grey of its own, with some noise."""
    shape = (shot.frames, SIZE, SIZE, 3)
    frames = np.full(shape, rng.uniform(*BACKGROUND), np.float32)
    radii = rng.uniform(SMALLEST, LARGEST, len(shot.actors))
    paths = _place(shot, radii, rng)
    for actor, radius, path in zip(shot.actors, radii, paths, strict=True):
        _paint(frames, actor, radius, path)
    frames += NOISE * rng.standard_normal(shape, np.float32)
    return frames.clip(0, 255).astype(np.uint8)


def _place(shot: Shot, radii: np.ndarray, rng: Generator) -> np.ndarray:
    """Paths of centres (actors, frames, 2) on which actors never touch."""
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
