import re

import numpy as np
import pytest

from mmtvr.datasets.moving_shapes.scene import (
    COLOURS,
    MOTIONS,
    SHAPES,
    Actor,
    Shot,
    change_words,
    describe_shots,
    draw_scene,
    draw_scenes,
    is_true_of,
    write_caption,
)

ACTOR = f'a ({"|".join(COLOURS)}) ({"|".join(SHAPES)}) ({"|".join(MOTIONS)})'
SHOT = f'{ACTOR}( and {ACTOR})?'


def captions_of(scene):
    return [write_caption(described) for described in describe_shots(scene)]


def shot(*actors):
    return Shot(tuple(Actor(*actor.split()) for actor in actors), 2)


RED, BLUE, RING = 'red bar resting', 'blue cross rising', 'green ring passing'
SCENE = (shot(RED), shot(BLUE), shot(RING, 'white bar falling'))


@pytest.mark.parametrize('seed', range(20))
def test_captions_follow_the_grammar(seed):
    scene = draw_scene(np.random.default_rng(seed))
    captions = captions_of(scene)
    assert len(set(captions)) == 3
    for caption in captions:
        assert re.fullmatch(f'{SHOT} then {SHOT}', caption)


def test_captions_describe_two_of_three_shots_in_order():
    assert captions_of(SCENE) == [
        'a red bar resting then a blue cross rising',
        'a red bar resting then a green ring passing and a white bar falling',
        'a blue cross rising then a green ring passing and a white bar '
        'falling',
    ]


@pytest.mark.parametrize('seed', range(20))
def test_hard_negatives_differ_in_one_word_of_two_shots(seed):
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    other = change_words(scene, rng)
    changes = sorted(
        sum(a != b for a, b in zip(one.split(), two.split(), strict=True))
        for one, two in zip(
            captions_of(scene), captions_of(other), strict=True
        )
    )
    assert changes == [1, 1, 2]


@pytest.mark.parametrize(
    ('described', 'true'),
    [
        ((shot(RED), shot(BLUE)), True),
        ((shot(BLUE), shot(RING)), True),
        ((shot(RED), shot('white bar falling')), True),
        ((shot(BLUE), shot(RED)), False),
        ((shot(RED, BLUE), shot(RING)), False),
        ((shot(RED), shot('blue cross resting')), False),
    ],
)
def test_caption_is_true_of_videos_that_show_it_in_order(described, true):
    assert is_true_of(described, SCENE) is true


def test_no_caption_is_true_of_another_video():
    scenes = draw_scenes(60, np.random.default_rng(0))
    assert len(scenes) == 60
    for number, scene in enumerate(scenes):
        for described in describe_shots(scene):
            true = [is_true_of(described, other) for other in scenes]
            assert np.flatnonzero(true).tolist() == [number]
