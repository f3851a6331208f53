import pytest
import torch
from torch import nn

from mmtvr.models import TextVideoRetriever
from mmtvr.models.partial_order.deletion import DeletionProbe, deletion_gaps
from mmtvr.ops import features_of_frames
from mmtvr.structures import TokenFeatures

WIDTH = 8


class Lookup(nn.Module):
    """Token i is the unit vector i; the last of a caption is the end."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, tokens, mask, weight=None):
        words = self.scale * torch.eye(WIDTH)[tokens]
        pooled = features_of_frames(words, mask).pooled
        return TokenFeatures(words, mask, pooled, weight)


def build(partial_loss=None):
    return TextVideoRetriever(
        Lookup(),
        Lookup(),
        head=dict(type='mmtvr.TokenWiseHead', embed_dims=WIDTH),
        contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
        partial_loss=partial_loss,
        logit_scale=dict(init=10.0),
    ).eval()


def pairs():
    """Captions of a start, three words and an end; videos of two frames."""
    return dict(
        tokens=torch.tensor([[0, 2, 3, 4, 7], [0, 5, 2, 3, 7]]),
        token_mask=torch.ones(2, 5).bool(),
        frames=torch.tensor([[3, 6], [5, 6]]).float(),
        frame_mask=torch.ones(2, 2).bool(),
        video_of_text=torch.arange(2),
        video_ids=torch.arange(2),
    )


@pytest.fixture
def model():
    model = build()
    encode = model.frame_encoder.forward
    model.frame_encoder.forward = lambda x, mask: encode(x.long(), mask)
    return model


def test_deleting_the_matching_word_costs_what_it_brought(model):
    probe = DeletionProbe(model, pairs())
    # One of five words and one of two frames match: (1/5 + 1/2) / 2.
    torch.testing.assert_close(probe.full, torch.tensor([0.35, 0.35]))
    removed = torch.zeros(2, 5).bool()
    removed[0, 2] = removed[1, 2] = True
    # The other caption loses a word that matches nothing.
    drop = 10 * torch.tensor([0.35, 0.35 - (1 / 4 + 1 / 2) / 2])
    torch.testing.assert_close(probe.drop(removed), drop)


@pytest.mark.parametrize('method', ['cosine', 'gradient', 'leave-one-out'])
def test_importances_find_the_matching_word(model, method):
    rating = DeletionProbe(model, pairs()).importance(method)
    assert rating.argmax(1).tolist() == [2, 1]


def test_gap_is_drop_less_random_drop(model):
    torch.manual_seed(0)
    probe = DeletionProbe(model, pairs())
    gaps = deletion_gaps(probe, draws=400)
    assert set(gaps) == {'random', 'cosine', 'gradient', 'leave-one-out'}
    # One of three words goes.
    other = (1 / 4 + 1 / 2) / 2
    mean = 10 * (0.35 - 2 / 3 * other)
    torch.testing.assert_close(
        gaps['random'], torch.full((2,), mean), atol=0.2, rtol=0
    )
    for method in ('cosine', 'gradient', 'leave-one-out'):
        torch.testing.assert_close(
            gaps[method], 3.5 - gaps['random'], atol=1e-4, rtol=0
        )


def test_frames_can_be_deleted(model):
    probe = DeletionProbe(model, pairs(), 'video')
    gaps = deletion_gaps(probe, ['leave-one-out', 'learned'], draws=50)
    assert set(gaps) == {'random', 'leave-one-out'}
    assert (gaps['leave-one-out'] > 0).all()


def test_learned_importance_is_that_of_the_masker():
    masker = dict(type='mmtvr.ImportanceMasker', embed_dims=WIDTH)
    model = build(dict(type='mmtvr.PartialOrderLoss', text_masker=masker))
    encode = model.frame_encoder.forward
    model.frame_encoder.forward = lambda x, mask: encode(x.long(), mask)
    probe = DeletionProbe(model, pairs())
    rating = probe.importance('learned')
    expected = model.partial_loss.text_masker.weigh(probe.text, probe.video)
    assert torch.equal(rating, expected)
    with pytest.raises(ValueError, match='attention'):
        probe.importance('attention')
