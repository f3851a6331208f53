import numpy as np
import pytest

from mmtvr.datasets.moving_shapes.scene import (
    COLOURS,
    MOTIONS,
    SHAPES,
    SIZE,
    STEP,
    Actor,
    Shot,
    draw_shot,
)


def find(frame, colour):
    """Mask of the pixels that are close to a colour."""
    gap = np.abs(frame.astype(int) - COLOURS[colour]).max(axis=-1)
    return gap < 40


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('motion', MOTIONS)
def test_actor_moves_as_its_word_says(shape, motion):
    shot = Shot((Actor('red', shape, motion),), 3)
    frames = draw_shot(shot, np.random.default_rng(0))
    assert frames.shape == (3, SIZE, SIZE, 3)
    assert frames.dtype == np.uint8
    places = [np.argwhere(find(f, 'red')).mean(axis=0)[::-1] for f in frames]
    expected = STEP * np.array(MOTIONS[motion])
    np.testing.assert_allclose(np.diff(places, axis=0), [expected] * 2, atol=1)


def test_shapes_are_all_different():
    images = [
        find(
            draw_shot(
                Shot((Actor('red', shape, 'resting'),), 1),
                np.random.default_rng(0),
            )[0],
            'red',
        )
        for shape in SHAPES
    ]
    for number, one in enumerate(images):
        for other in images[:number]:
            assert (one != other).sum() > 0.2 * min(one.sum(), other.sum())


@pytest.mark.parametrize('seed', range(10))
def test_two_actors_stay_inside_and_apart(seed):
    actors = (
        Actor('red', 'square', 'falling'),
        Actor('blue', 'circle', 'passing'),
    )
    frames = draw_shot(Shot(actors, 3), np.random.default_rng(seed))
    for colour in ('red', 'blue'):
        areas = [find(frame, colour).sum() for frame in frames]
        assert min(areas) > 80
        assert max(areas) - min(areas) < 0.25 * max(areas)


def test_unknown_shape_is_refused():
    shot = Shot((Actor('red', 'spiral', 'resting'),), 1)
    with pytest.raises(ValueError, match='spiral'):
        draw_shot(shot, np.random.default_rng(0))
