"""Gradient caching: a large batch in the memory of a small one."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from mmtvr.errors import SetupError
from mmtvr.models import TextVideoRetriever
from mmtvr.models.retriever import encode_in_chunks
from mmtvr.structures import TokenFeatures


class Encoder(nn.Module):
    """A linear layer with dropout that remembers what it saw."""

    def __init__(self, width, dropout=0.0):
        super().__init__()
        self.linear = nn.Linear(width, 8)
        self.dropout = nn.Dropout(dropout)
        self.seen = []
        self.hidden = []

    def forward(self, x, mask, weight=None):
        self.seen.append(len(x))
        tokens = self.dropout(self.linear(x.float()))
        self.hidden.append(tokens.detach())
        tokens = nn.functional.normalize(tokens, dim=-1)
        pooled = nn.functional.normalize(tokens.mean(1), dim=-1)
        return TokenFeatures(tokens, mask, pooled, weight)


def build(cached=None, dropout=0.0):
    torch.manual_seed(0)
    return TextVideoRetriever(
        Encoder(6, dropout),
        Encoder(12, dropout),
        head=dict(type='mmtvr.DMAEHead', embed_dims=8),
        contrastive_loss=dict(type='mmtvr.NegNCELoss'),
        partial_loss=dict(
            type='mmtvr.TPMCLLoss', embed_dims=8, max_words=4, max_frames=3
        ),
        logit_scale=dict(init=10.0),
        cached_contrastive=cached,
    )


def inputs(rows=7):
    torch.manual_seed(1)
    return dict(
        tokens=torch.randn(rows, 4, 6),
        token_mask=torch.ones(rows, 4).bool(),
        token_weight=torch.ones(rows, 4),
        frames=torch.randn(rows, 3, 12),
        frame_mask=torch.ones(rows, 3).bool(),
        video_of_text=torch.arange(rows),
        video_ids=torch.arange(rows),
    )


def gradients(model, batch):
    losses = model(batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    return total.detach(), {
        name: parameter.grad for name, parameter in model.named_parameters()
    }


@pytest.mark.parametrize('chunk', [1, 3, 7, 100])
def test_loss_and_gradients_equal_one_pass(chunk):
    loss, expected = gradients(build(), inputs())
    model = build(dict(chunk=chunk))

    cached_loss, actual = gradients(model, inputs())

    assert max(model.text_encoder.seen) == min(chunk, 7)
    assert sum(model.text_encoder.seen) == 2 * 7
    torch.testing.assert_close(cached_loss, loss)
    for name, gradient in expected.items():
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(
            actual[name], gradient, rtol=0, atol=1e-5, msg=name
        )


def test_dropout_is_the_same_both_times():
    model = build(dict(chunk=2), dropout=0.5)

    gradients(model, inputs())

    first, second = (
        model.text_encoder.hidden[:4],
        model.text_encoder.hidden[4:],
    )
    assert (first[0] == 0).any()
    # Backward starts with the last chunk.
    for once, again in zip(first, reversed(second), strict=True):
        assert torch.equal(once, again)


@pytest.mark.parametrize(('chunk', 'expected'), [(4, 2), (64, 1), (32, 2)])
def test_activations_of_one_chunk_are_alive_at_a_time(chunk, expected):
    """The one that backward works on, and the one before it, not yet freed."""
    batch = inputs(64)
    layer = nn.Linear(6, 8)
    activations, alive = [], []

    def encode(x, mask):
        hidden = layer(x).tanh()
        activations.append(StorageWeakRef(hidden.untyped_storage()))
        alive.append(sum(not each.expired() for each in activations))
        tokens = hidden.sin()
        return TokenFeatures(tokens, mask, tokens.mean(1))

    features = encode_in_chunks(
        encode, chunk, batch['tokens'], batch['token_mask']
    )
    assert all(each.expired() for each in activations)
    features.tokens.sum().backward()

    assert len(alive) == 2 * (64 // chunk)
    assert max(alive) <= expected
    assert layer.weight.grad.abs().sum() > 0


def test_accumulated_steps_equal_one_pass():
    """Two micro-batches, one step, with the weights that come of it."""
    weights = []
    for cached in (None, dict(chunk=2)):
        model = build(cached)
        optim = OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=1.0), accumulative_counts=2
        )
        optim.initialize_count_status(model, 0, 2)
        for rows in (7, 5):
            losses = model(inputs(rows), mode='loss')
            total, _ = model.parse_losses(losses)
            optim.update_params(total)
        weights.append(list(model.parameters()))

    for one_pass, cached in zip(*weights, strict=True):
        torch.testing.assert_close(cached, one_pass, rtol=0, atol=1e-5)


def test_mixed_precision_is_the_same_both_times():
    """Backward runs outside autocast, the second encoding is to be inside."""
    results = []
    for cached in (None, dict(chunk=2)):
        model = build(cached)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            losses = model(inputs(), mode='loss')
            total, _ = model.parse_losses(losses)
        total.backward()
        hidden = model.frame_encoder.hidden
        assert {each.dtype for each in hidden} == {torch.bfloat16}
        results.append([each.grad for each in model.parameters()])

    for one_pass, cached in zip(*results, strict=True):
        torch.testing.assert_close(cached, one_pass, rtol=0.05, atol=1e-3)


def test_evaluation_encodes_in_one_pass():
    model = build(dict(chunk=2))

    with torch.no_grad():
        model.extract_text(inputs())

    assert model.text_encoder.seen == [7]


def test_chunk_of_nothing_is_refused():
    with pytest.raises(SetupError, match='chunk=0'):
        build(dict(chunk=0))
