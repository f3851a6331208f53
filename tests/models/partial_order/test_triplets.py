"""Similarities of full and partial pairs."""

import pytest
import torch

from mmtvr.models.partial_order import (
    PartialPairs,
    pair_similarity,
    triplet_similarities,
)

NAMES = ("t|v vs t|v'", "tg|v vs tg|v'", "tg|v vs tg'|v")


def partial_word_norm(loss, text, video):
    importance = loss.word_importance(
        text.tokens, text.mask, video.tokens, video.mask
    )
    from mmtvr.models.partial_order import keep_less_important

    keep = keep_less_important(importance, text.mask, 0.6)
    return ((importance * keep)[..., None] * text.tokens).sum(1).norm(dim=1)


def test_small_case_equals_released_values(golden, small_case):
    """The similarity is linear in tg', which was not normalised there."""
    loss, text, video = small_case
    pairs = loss.partial_pairs(text, video)
    scale = {'words': partial_word_norm(loss, text, video)}
    for name, key in zip(loss.triplets, NAMES, strict=True):
        full, partial = triplet_similarities(name, pairs)
        expected = torch.tensor(golden[f'tpm_pairs {key}']).double()

        found = torch.stack([full, partial * scale.get(name, 1.0)])

        torch.testing.assert_close(found, expected, rtol=0, atol=5e-7)


def test_random_case_equals_released_values(golden_arrays, random_case):
    loss, text, video = random_case
    pairs = loss.partial_pairs(text, video)
    scale = {'words': partial_word_norm(loss, text, video)}
    for name in loss.triplets:
        full, partial = triplet_similarities(name, pairs)
        key = name + '_unnormalised' * (name == 'words')
        exact = dict(rtol=0, atol=1e-10)

        torch.testing.assert_close(
            full, golden_arrays[f'tpm_pos_{key}'], **exact
        )
        torch.testing.assert_close(
            partial * scale.get(name, 1.0),
            golden_arrays[f'tpm_neg_{key}'],
            **exact,
        )


def test_removed_frames_count_as_zero():
    """Cosines 1 and .6; the first frame is removed, the third is padding."""
    vector = torch.tensor([[1.0, 0.0]])
    frames = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [9.0, 9.0]]])
    partial = frames * torch.tensor([[0.0], [1.0], [1.0]])
    mask = torch.tensor([[True, True, False]])

    full = pair_similarity(vector, frames, mask)

    assert full.item() == pytest.approx(0.5 * (1.0 + 0.8))
    removed = pair_similarity(vector, partial, mask)
    assert removed.item() == pytest.approx(0.5 * (0.6 + 0.3))


def test_removed_frame_beats_negative_cosines():
    vector = torch.tensor([[-1.0, 0.0]])
    frames = torch.tensor([[[0.0, 0.0], [0.6, 0.8]]])
    mask = torch.ones(1, 2, dtype=torch.bool)

    similarity = pair_similarity(vector, frames, mask)

    assert similarity.item() == pytest.approx(0.5 * (0.0 - 0.3))


def test_video_without_frames_scores_zero():
    frames = torch.randn(1, 2, 4, requires_grad=True)

    similarity = pair_similarity(
        torch.randn(1, 4), frames, torch.zeros(1, 2).bool()
    )
    similarity.sum().backward()

    assert similarity.item() == 0
    assert not frames.grad.any()


def test_unknown_triplet_is_refused():
    empty = torch.zeros(1, 1)

    with pytest.raises(ValueError, match='triplets must be'):
        triplet_similarities('phrases', PartialPairs(empty, empty, empty))
