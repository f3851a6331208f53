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


def evidence_head(**options):
    options = dict(background=3, background_tokens=4, evidence=0.5) | options
    return TokenWiseHead(8, **options).double()


def test_evidence_is_what_a_slow_loop_finds_beyond_the_background(features):
    text, video = features(3, 5, seed=1), features(4, 3, seed=2)
    plain, head = TokenWiseHead(8), evidence_head()
    seen = features(2, 3, seed=3)
    head.observe(seen)

    expected = plain(text, video)
    beyond = expected - plain(text, seen).mean(1, keepdim=True)
    for row, mask in enumerate(text.mask):
        beyond[row] *= int(mask.sum()) ** 0.5

    # Training does not see it.
    torch.testing.assert_close(head(text, video), expected)
    head.eval()
    torch.testing.assert_close(head(text, video), beyond)
    torch.testing.assert_close(sum(head.parts(text, video).values()), beyond)
    torch.testing.assert_close(
        head(text, video.select(slice(1, 2))), beyond[:, 1:2]
    )


def test_background_is_the_last_videos_and_part_of_the_checkpoint(features):
    head = evidence_head()
    for seed in (1, 2):
        head.observe(features(2, 6, seed=seed))
    kept = head.background.videos()
    assert kept.tokens.shape == (3, 4, 8)
    new = features(2, 6, seed=2)
    shown = new.tokens[:, :4] * new.mask[:, :4, None]
    torch.testing.assert_close(kept.tokens[:2] * kept.mask[:2, :, None], shown)
    other = evidence_head()
    other.load_state_dict(head.state_dict())
    text, video = features(3, 5, seed=3), features(4, 3, seed=4)
    head.eval(), other.eval()
    torch.testing.assert_close(head(text, video), other(text, video))


def test_evidence_without_background_counts_by_length_alone(features):
    text, video = features(3, 5, seed=1), features(4, 3, seed=2)
    length = text.mask.sum(1, keepdim=True).double()
    for head in (evidence_head(), evidence_head(background=0)):
        torch.testing.assert_close(
            head.eval()(text, video),
            length.sqrt() * TokenWiseHead(8)(text, video),
        )
