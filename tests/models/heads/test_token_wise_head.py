"""Token-wise interaction as its own head."""

import pytest
import torch

from mmtvr.models.heads import DMAEHead, TokenWiseHead
from mmtvr.registry import MODELS


@pytest.mark.parametrize('level', ['sentence', 'word'])
@pytest.mark.parametrize('weighting', ['mean', 'learned'])
def test_similarity_equals_slow_loop(
    features, slow_similarity, level, weighting
):
    torch.manual_seed(0)
    head = TokenWiseHead(8, level, weighting, hidden_layers=1).double()
    text = features(3, 5, seed=1, key_words=True)
    video = features(4, 3, seed=2)

    expected = slow_similarity(
        text,
        video,
        (level,),
        c=0.0,
        word_scorer=getattr(head.word_weights, 'score', None),
        frame_scorer=getattr(head.frame_weights, 'score', None),
    )

    torch.testing.assert_close(head(text, video), expected)


def test_mean_of_both_levels_is_the_plain_dmae_head(features):
    text, video = features(3, 5, seed=3), features(4, 3, seed=4)
    both = [TokenWiseHead(8, level) for level in ('sentence', 'word')]

    mean = sum(head(text, video) for head in both) / 2

    torch.testing.assert_close(
        mean, DMAEHead(8, visual_attention=0.0)(text, video)
    )


def test_learned_weights_do_not_see_the_batch(features):
    torch.manual_seed(0)
    head = TokenWiseHead(8, weighting='learned').double()
    text, video = features(3, 5, seed=5), features(4, 3, seed=6)

    torch.testing.assert_close(
        head(text.select(slice(0, 1)), video), head(text, video)[:1]
    )


def test_builds_from_a_bare_dict():
    head = MODELS.build(dict(type='mmtvr.TokenWiseHead'))

    assert head.levels == ('word',)
    assert head.visual_attention == 0


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match='levels must be'):
        TokenWiseHead(level='phrase')
