"""Videos of five shots, and captions that are right by construction."""

import json

import numpy as np
import pytest

from mmtvr.datasets.moving_shapes import MovingShapesDataset
from mmtvr.datasets.moving_shapes.fine_grained import make_shape_captions
from mmtvr.datasets.moving_shapes.generation import (
    draw_split,
    ensure_moving_shapes,
)
from mmtvr.datasets.moving_shapes.scene import (
    Actor,
    Shot,
    is_true_of,
    write_caption,
)
from mmtvr.errors import SetupError


def shots(*names):
    return tuple(Shot((Actor(*name.split()),), 2) for name in names)


def test_a_caption_is_true_of_shots_in_their_order():
    scene = shots('red bar resting', 'blue ring rising', 'red bar rising')
    one, two, three = scene
    assert is_true_of((one, three), scene)
    assert is_true_of((two,), scene)
    assert is_true_of((), scene)
    assert not is_true_of((two, one), scene)
    assert not is_true_of((one, one), scene)


@pytest.mark.parametrize('long', [False, True])
def test_no_caption_is_true_of_another_video(long):
    stories, _ = draw_split('test', 60, 0, long)
    for number, story in enumerate(stories):
        for described in story.described():
            true = [is_true_of(described, one.scene) for one in stories]
            assert true == [other == number for other in range(60)]


def test_long_videos_come_in_near_duplicates_and_tell_one_to_three_shots():
    stories, _ = draw_split('test', 20, 3, True)
    for first, second in zip(stories[::2], stories[1::2], strict=True):
        assert first.told == second.told
        assert [len(places) for places in first.told] == [1, 2, 3]
        assert len(first.scene) == len(second.scene) == 5
        words = [write_caption(s.scene).split() for s in (first, second)]
        changed = sum(a != b for a, b in zip(*words, strict=True))
        assert changed == 4


@pytest.mark.parametrize('long', [False, True])
def test_partial_captions_and_twins_are_right(long):
    stories, _ = draw_split('test', 40, 0, long)
    content = make_shape_captions(stories)
    texts = content['texts']
    for record in content['partial']:
        full, partial = texts[record['text']], texts[record['partial']]
        assert len(partial) < len(full)
        assert set(partial.split()) <= set(full.split())
        assert record['video'] not in record['true_of']
    assert {record['kind'] for record in content['partial']} == {
        'shot',
        'actor',
    }
    own = [{write_caption(d) for d in s.described()} for s in stories]
    kinds = set()
    for record in content['twins']:
        text, twin = texts[record['text']], texts[record['twin']]
        words = zip(text.split(), twin.split(), strict=True)
        assert sum(a != b for a, b in words) == 1
        assert text in own[record['video']]
        assert twin in own[record['twin_video']]
        kinds.add(record['kind'])
    assert kinds == {'colour', 'shape', 'motion'}


def test_partial_captions_name_the_other_videos_that_they_fit():
    stories, _ = draw_split('test', 40, 0, True)
    content = make_shape_captions(stories)
    captions = [
        {write_caption((shot,)) for shot in story.scene} for story in stories
    ]
    for record in content['partial']:
        partial = content['texts'][record['partial']]
        if 'then' in partial or 'and' in partial:
            continue
        for video in record['true_of']:
            assert any(partial in shot for shot in captions[video])


def test_long_split_is_drawn_and_kept_apart(tmp_path):
    folder = ensure_moving_shapes(tmp_path, 'test', 2, 0, long=True)
    captions = json.loads((folder / 'annotations.json').read_text())
    assert [len(texts) for texts in captions.values()] == [3, 3]
    with pytest.raises(SetupError, match='long'):
        ensure_moving_shapes(tmp_path, 'test', 2, 0)
    dataset = MovingShapesDataset(
        str(tmp_path), 'test', 2, 0, long=True, test_mode=True
    )
    made = dataset.make_fine_grained()
    assert made['videos'] == list(captions)
    full = {made['texts'][record['text']] for record in made['partial']}
    assert full <= {text for texts in captions.values() for text in texts}


def test_the_first_variant_is_what_it_was():
    stories, rng = draw_split('test', 4, 0)
    assert write_caption(stories[0].scene) == (
        'a green square passing then a red bar resting then a white square '
        'rising'
    )
    assert [story.told for story in stories] == [((0, 1), (0, 2), (1, 2))] * 4
    assert isinstance(rng, np.random.Generator)
