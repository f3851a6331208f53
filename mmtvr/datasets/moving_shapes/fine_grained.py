"""Partial captions and twins of drawn videos, right by construction."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from mmtvr.datasets.fine_grained import FineGrainedWriter
from mmtvr.datasets.moving_shapes.long import Story
from mmtvr.datasets.moving_shapes.scene import (
    Actor,
    Scene,
    actors_of,
    is_true_of,
    write_caption,
)

FIELDS = ('colour', 'shape', 'motion')


def make_shape_captions(stories: Sequence[Story]) -> dict[str, Any]:
    """Make a set of fine-grained captions of all videos of a split.

    A partial caption leaves out one told shot (``shot``), or one actor of a
    shot of two (``actor``); ``true_of`` lists the other videos that it is
    true of. Twins are captions of the two videos of a pair that tell the same
    shots and differ in one word: ``colour``, ``shape`` or ``motion``.

    Args:
        stories: The videos of a split, in their order.

    Returns:
        What JSON holds, see :mod:`mmtvr.evaluation.fine_grained`.
    """
    writer = FineGrainedWriter(
        [f'video{number}.mp4' for number in range(len(stories))]
    )
    showing: dict[Actor, set[int]] = defaultdict(set)
    for video, story in enumerate(stories):
        for actor in actors_of(story.scene):
            showing[actor].add(video)
    for video, story in enumerate(stories):
        for described in story.described():
            caption = write_caption(described)
            for kind, partial in _partials(described):
                near = [showing[actor] for actor in actors_of(partial)]
                elsewhere = [
                    other
                    for other in sorted(set.intersection(*near) - {video})
                    if is_true_of(partial, stories[other].scene)
                ]
                writer.add(
                    'partial',
                    kind,
                    caption,
                    write_caption(partial),
                    video,
                    true_of=elsewhere,
                )
    for video in range(0, len(stories) - 1, 2):
        pair = stories[video], stories[video + 1]
        for one, other in zip(*(s.described() for s in pair), strict=True):
            kind = _only_difference(one, other)
            if kind:
                writer.add(
                    'twins',
                    kind,
                    write_caption(one),
                    write_caption(other),
                    video,
                    twin_video=video + 1,
                )
    return writer.content


def _partials(described: Scene) -> Iterator[tuple[str, Scene]]:
    for place, shot in enumerate(described):
        before, after = described[:place], described[place + 1 :]
        if len(described) > 1:
            yield 'shot', before + after
        if len(shot.actors) > 1:
            for number in range(len(shot.actors)):
                left = shot.actors[:number] + shot.actors[number + 1 :]
                yield 'actor', (*before, shot._replace(actors=left), *after)


def _only_difference(one: Scene, other: Scene) -> str | None:
    """The field of the only word in which two captions differ, if it is."""
    changed = [
        FIELDS[field]
        for shot, twin in zip(one, other, strict=True)
        for actor, changed in zip(shot.actors, twin.actors, strict=True)
        for field in range(len(FIELDS))
        if actor[field] != changed[field]
    ]
    return changed[0] if len(changed) == 1 else None
