"""Longer scenes of which a caption tells one, two or three shots."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from numpy.random import Generator

from mmtvr.datasets.moving_shapes.scene import (
    Actor,
    Scene,
    actors_of,
    change_words,
    draw_scene,
    is_true_of,
)

NUM_SHOTS = 5
SHOTS_TOLD = (1, 2, 3)


class Story(NamedTuple):
    """A video, and which of its shots each caption tells.

    Attributes:
        scene: Its shots.
        told: Per caption the places of its shots, ascending.
    """

    scene: Scene
    told: tuple[tuple[int, ...], ...]

    def described(self) -> Iterator[Scene]:
        """What each caption describes."""
        for places in self.told:
            yield tuple(self.scene[place] for place in places)


def draw_stories(count: int, rng: Generator) -> list[Story]:
    """Draw videos of five shots of which no caption is true of another.

    Each has a caption of one shot, which shows two actors, one of two and one
    of three shots. The second of each two is a near duplicate of the first,
    with one word changed in all shots but one, and its captions tell the same
    shots.
    """
    drawn = _Drawn()
    while len(drawn.stories) < count:
        if len(drawn.stories) % 2:
            first = drawn.stories[-1]
            story = Story(change_words(first.scene, rng), first.told)
        else:
            scene = draw_scene(rng, NUM_SHOTS)
            pairs = [i for i, shot in enumerate(scene) if len(shot.actors) > 1]
            if not pairs:
                continue
            one = int(pairs[rng.integers(len(pairs))])
            several = [
                tuple(sorted(rng.permutation(NUM_SHOTS)[:told].tolist()))
                for told in SHOTS_TOLD[1:]
            ]
            story = Story(scene, ((one,), *several))
        if not drawn.add(story) and len(drawn.stories) % 2:
            # A first video may leave no room for a near duplicate.
            drawn.retry()
    return drawn.stories


class _Drawn:
    """Videos so far, found by the actors that they show."""

    MAX_TRIES = 50

    def __init__(self) -> None:
        self.stories: list[Story] = []
        self._showing: dict[Actor, set[int]] = defaultdict(set)
        self._tries = 0

    def add(self, story: Story) -> bool:
        """Keep a story, unless a caption is true of two videos."""
        if self._clashes(story):
            return False
        for actor in actors_of(story.scene):
            self._showing[actor].add(len(self.stories))
        self.stories.append(story)
        self._tries = 0
        return True

    def retry(self) -> None:
        """Count a failure; drop the last video after too many."""
        self._tries += 1
        if self._tries >= self.MAX_TRIES:
            last = self.stories.pop()
            for actor in actors_of(last.scene):
                self._showing[actor].discard(len(self.stories))
            self._tries = 0

    def _clashes(self, story: Story) -> bool:
        for described in story.described():
            showing = [self._showing[actor] for actor in actors_of(described)]
            for number in set.intersection(*showing):
                if is_true_of(described, self.stories[number].scene):
                    return True
        mine = actors_of(story.scene)
        near: dict[int, int] = defaultdict(int)
        for actor in mine:
            for number in self._showing[actor]:
                near[number] += 1
        return any(
            is_true_of(described, story.scene)
            for number, shared in near.items()
            if shared > 1
            for described in self.stories[number].described()
            if actors_of(described) <= mine
        )
