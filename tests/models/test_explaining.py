"""The numbers behind one score agree with the score."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from mmtvr.explanation import explain_pair
from mmtvr.models.heads import CosineHead, DMAEHead, XPoolHead
from mmtvr.models.partial_order import TPMCLLoss
from mmtvr.structures import TokenFeatures

WORDS = ('[start]', 'red', 'dog', '[end]')


class Model(nn.Module):
    """What the function reads of a retriever."""

    def __init__(self, head, partial_loss=None):
        super().__init__()
        self.head = head
        self.partial_loss = partial_loss


def bag(tokens, real, seed, weight=None):
    generator = torch.Generator().manual_seed(seed)
    vectors = normalize(torch.randn(1, tokens, 8, generator=generator), dim=-1)
    mask = torch.arange(tokens)[None] < real
    pooled = normalize(vectors[:, :real].mean(1), dim=-1)
    return TokenFeatures(vectors, mask, pooled, weight)


@pytest.fixture
def pair():
    weight = torch.tensor([[1.0, 2.0, 2.0, 1.0, 0.0]])
    return bag(5, 4, 0, weight), bag(4, 3, 1)


@pytest.mark.parametrize(
    'head',
    [
        DMAEHead(8),
        DMAEHead(8, visual_attention=0.0, levels='word'),
        DMAEHead(8, weighting='learned', levels='sentence'),
        CosineHead(),
        XPoolHead(8),
    ],
    ids=['dmae', 'words', 'learned', 'cosine', 'xpool'],
)
def test_parts_add_up_to_the_score(head, pair):
    head.eval()
    found = explain_pair(Model(head), *pair, WORDS)
    assert found.score == pytest.approx(head(*pair).item(), abs=1e-6)
    assert sum(found.parts.values()) == pytest.approx(found.score, abs=1e-6)
    assert (len(found.parts) > 1) == hasattr(head, 'parts')


def test_only_real_tokens_are_told_of(pair):
    text, video = pair
    found = explain_pair(Model(DMAEHead(8)), text, video, WORDS)
    assert found.words == WORDS
    assert found.weights.tolist() == [1, 2, 2, 1]
    expected = text.tokens[0, :4] @ video.tokens[0, :3].T
    np.testing.assert_allclose(found.cosines, expected, rtol=1e-6)
    assert found.sentence.shape == (3,)
    assert found.word_masking is None
    best = expected.amax(1)
    shares = best * torch.tensor([1, 2, 2, 1]) / 6
    np.testing.assert_allclose(found.shares, shares, rtol=1e-6)
    assert found.best_frames.tolist() == expected.argmax(1).tolist()


def test_masking_is_what_the_loss_removes(pair):
    torch.manual_seed(0)
    loss = TPMCLLoss(8, max_words=5, max_frames=4, min_removed=1)
    found = explain_pair(Model(DMAEHead(8), loss), *pair, WORDS)
    pairs = loss.partial_pairs(*pair)
    removed = ~pairs.kept_frames[0, :3]
    assert found.frame_masking.removed.tolist() == removed.tolist()
    assert found.frame_masking.importance.sum() == pytest.approx(1, abs=1e-6)
    logged = loss.log_values()
    assert found.word_masking.removed.mean() == logged['removed_words']
    assert found.word_masking.removed.any()


def test_a_loss_on_frames_tells_nothing_of_words(pair):
    loss = TPMCLLoss(8, 5, 4, triplets=('frames',))
    found = explain_pair(Model(DMAEHead(8), loss), *pair, WORDS)
    assert found.word_masking is None
    assert found.frame_masking is not None


def test_names_that_do_not_fit_are_refused(pair):
    with pytest.raises(ValueError, match='3 names for 4 word pieces'):
        explain_pair(Model(CosineHead()), *pair, WORDS[:3])
