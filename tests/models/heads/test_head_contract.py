"""What every head promises."""

import inspect

import pytest
import torch

from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

HEADS = (
    dict(type='CosineHead'),
    dict(type='TokenWiseHead'),
    dict(type='TokenWiseHead', weighting='learned'),
    dict(type='DMAEHead'),
    dict(type='DMAEHead', levels=('sentence',), weighting='learned'),
    dict(type='DMAEHead', visual_attention=0.0),
    dict(type='DMAEHead', weighting='learned', hidden_layers=1),
    dict(type='XPoolHead'),
    dict(type='XCLIPHead'),
    dict(type='VideoColBERTHead'),
    dict(type='VideoColBERTHead', expansion_tokens=0),
)
every_head = pytest.mark.parametrize('config', HEADS)


def build(config, width=8, **options):
    torch.manual_seed(0)
    kind = MODELS.get(f'mmtvr.{config["type"]}')
    known = inspect.signature(kind).parameters
    options = {**options, 'embed_dims': width}
    options = {name: each for name, each in options.items() if name in known}
    config = {**config, **options, 'type': f'mmtvr.{config["type"]}'}
    return MODELS.build(config).double().eval()


@every_head
def test_rows_are_texts_and_columns_videos(features, config):
    head = build(config)
    text = features(5, 4, seed=1, key_words=True)
    video = features(3, 6, seed=2)
    rows, columns = torch.randperm(5), torch.randperm(3)

    sim = head(text, video)

    assert sim.shape == (5, 3)
    exact = dict(rtol=0, atol=1e-13)
    permuted = head(text.select(rows), video.select(columns))
    torch.testing.assert_close(permuted, sim[rows][:, columns], **exact)
    sliced = head(text.select(slice(1, 2)), video)
    torch.testing.assert_close(sliced, sim[1:2], **exact)


@every_head
def test_padding_of_any_content_changes_nothing(features, config):
    head = build(config)
    text = features(5, 4, seed=3, key_words=True)
    video = features(3, 6, seed=4)
    padded = []
    for side in (text, video):
        more = torch.full_like(side.tokens[:, :2], float('nan'))
        no = torch.zeros_like(side.mask[:, :2])
        weight = side.weight
        if weight is not None:
            weight = torch.cat([weight, no.double()], 1)
        tokens = torch.cat([side.tokens, more], 1).requires_grad_()
        mask = torch.cat([side.mask, no], 1)
        padded.append(TokenFeatures(tokens, mask, side.pooled, weight))

    sim = head(*padded)

    torch.testing.assert_close(sim, head(text, video), rtol=0, atol=1e-12)
    if getattr(head, 'compares', 'tokens') != 'pooled':
        sim.sum().backward()
        for tensor in (padded[1].tokens, *head.parameters()):
            assert tensor.grad.isfinite().all()


@every_head
def test_blocks_give_scores_and_gradients_of_one_shot(features, config):
    text = features(5, 4, seed=5)
    video = features(3, 6, seed=6)
    tokens = (text.tokens, text.pooled, video.tokens, video.pooled)
    for tensor in tokens:
        tensor.requires_grad_()
    results = []
    for block_bytes in (2**28, 1):
        head = build(config, block_bytes=block_bytes)
        sim = head(text, video)
        leaves = (*tokens, *head.parameters())
        grads = torch.autograd.grad(
            sim.pow(2).sum(), leaves, allow_unused=True
        )
        results.append((sim, *(g for g in grads if g is not None)))

    for one_shot, in_blocks in zip(*results, strict=True):
        torch.testing.assert_close(in_blocks, one_shot, rtol=0, atol=1e-12)


@every_head
def test_gradients_pass_gradcheck(features, config):
    head = build(config, width=4)
    text = features(2, 3, 4, seed=7, key_words=True)
    video = features(3, 3, 4, seed=8)
    tensors = [text.tokens, text.pooled, video.tokens, video.pooled]
    for tensor in (*tensors, *head.parameters()):
        tensor.requires_grad_()

    def score(words, sentence, frames, whole, *parameters):
        return head(
            text._replace(tokens=words, pooled=sentence),
            video._replace(tokens=frames, pooled=whole),
        )

    assert torch.autograd.gradcheck(
        score, (*tensors, *head.parameters()), fast_mode=True
    )


@every_head
def test_every_parameter_receives_a_gradient(features, config):
    head = build(config)
    text = features(4, 4, seed=9, shortest=2)
    video = features(4, 4, seed=10, shortest=2)

    sim = head(text, video)
    if list(head.parameters()):
        sim.pow(2).sum().backward()

    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name


@every_head
@pytest.mark.parametrize('sign', [1.0, -1.0])
@pytest.mark.parametrize('size', [(1, 1, 1, 1), (2, 3, 5, 4)])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_degenerate_input_gives_finite_values(config, dtype, size, sign):
    """All tokens equal, all but one masked, cosines of +-1, autocast."""
    texts, videos, words, frames = size
    head = build(config).float()
    vector = torch.zeros(8, dtype=dtype)
    vector[0] = 1.0
    leaves = [
        vector.expand(texts, words, 8).clone().requires_grad_(),
        vector.expand(texts, 8).clone().requires_grad_(),
        (sign * vector).expand(videos, frames, 8).clone().requires_grad_(),
    ]
    first_word = torch.arange(words).expand(texts, -1) < 1
    first_frame = torch.arange(frames).expand(videos, -1) < 1

    with torch.autocast('cpu', dtype=torch.bfloat16):
        sim = head(
            TokenFeatures(leaves[0], first_word, leaves[1]),
            TokenFeatures(leaves[2], first_frame, leaves[2].mean(1)),
        )
    sim.sum().backward()

    assert sim.dtype == torch.float32
    assert sim.isfinite().all()
    for tensor in (*leaves, *head.parameters()):
        assert tensor.grad is None or tensor.grad.isfinite().all()


@every_head
def test_side_without_tokens_gives_finite_values(features, config):
    head = build(config)
    text, video = features(3, 4, seed=11), features(3, 4, seed=12)
    text.mask[0] = False
    video.mask[1] = False
    video.tokens.requires_grad_()

    sim = head(text, video)

    assert sim.isfinite().all()
    if sim.requires_grad:
        sim.sum().backward()
        grads = (video.tokens.grad, *(p.grad for p in head.parameters()))
        assert all(g is None or g.isfinite().all() for g in grads)


@every_head
def test_builds_from_a_bare_dict(config):
    MODELS.build(dict(type=f'mmtvr.{config["type"]}'))
