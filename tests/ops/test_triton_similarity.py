"""The Triton kernel, on a GPU where there is one, else interpreted.

``conftest.py`` switches the interpreter on.
"""

import pytest
import torch
from torch.nn.functional import normalize

from mmtvr.errors import SetupError
from mmtvr.models import DMAEHead
from mmtvr.ops import nearest_frames, similarity
from mmtvr.ops.similarity import Bag, max_similarity
from mmtvr.structures import TokenFeatures

pytest.importorskip('triton')

from mmtvr.ops.triton_similarity import TritonMaxSimilarity

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
# The interpreter multiplies bfloat16 as the integers that hold it.
HALVES = [torch.float16] + [torch.bfloat16] * torch.cuda.is_available()


def draw(rows, tokens, width, dtype, seed):
    """A bag with padding that holds NaN, and weights of sum 1."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, tokens, width, generator=generator)
    values = normalize(values, dim=-1).to(dtype)
    length = torch.randint(1, tokens + 1, (rows, 1), generator=generator)
    mask = torch.arange(tokens) < length
    values[~mask] = torch.nan
    weight = torch.rand(rows, tokens, generator=generator) * mask
    weight = weight / weight.sum(1, keepdim=True)
    return Bag(values.to(DEVICE), mask.to(DEVICE), weight.to(DEVICE))


def compare(function, text, video, visual_attention, slopes):
    words = text.tokens.clone().requires_grad_()
    frames = video.tokens.clone().requires_grad_()
    text, video = text._replace(tokens=words), video._replace(tokens=frames)
    neighbours = nearest_frames(
        TokenFeatures(frames, video.mask, frames[:, 0]), visual_attention
    )
    means = function(text, video, neighbours)
    grads = torch.autograd.grad(means, (words, frames), slopes)
    return [each.detach().float() for each in (*means, *grads)]


def in_triton(text, video, neighbours):
    return TritonMaxSimilarity.apply(
        *text, *video, *(neighbours or (None, None)), True
    )


def in_chunks(text, video, neighbours):
    """In float32, whatever the type of the tokens."""
    return max_similarity(
        text._replace(tokens=text.tokens.float()),
        video._replace(tokens=video.tokens.float()),
        neighbours,
        2**24,
    )


@pytest.mark.parametrize('visual_attention', [0.0, 0.5])
@pytest.mark.parametrize(
    ('texts', 'words', 'videos', 'frames', 'width'),
    [
        (5, 7, 3, 5, 24),
        (1, 32, 9, 12, 80),
        (130, 1, 2, 12, 16),
        (3, 77, 2, 64, 8),
    ],
)
def test_kernel_equals_the_chunked_form(
    texts, words, videos, frames, width, visual_attention
):
    text = draw(texts, words, width, torch.float32, 0)
    video = draw(videos, frames, width, torch.float32, 1)
    torch.manual_seed(2)
    slopes = [torch.randn(texts, videos, device=DEVICE) for _ in range(2)]

    actual = compare(in_triton, text, video, visual_attention, slopes)

    expected = compare(in_chunks, text, video, visual_attention, slopes)
    for ours, reference in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_is_summed_in_float32(dtype):
    text = draw(6, 9, 64, dtype, 0)
    video = draw(4, 5, 64, dtype, 1)
    slopes = [torch.ones(6, 4, device=DEVICE)] * 2

    actual = compare(in_triton, text, video, 0.5, slopes)

    expected = compare(in_chunks, text, video, 0.5, slopes)
    for ours, reference in zip(actual[:2], expected[:2], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)
    for ours, reference in zip(actual[2:], expected[2:], strict=True):
        torch.testing.assert_close(ours, reference, rtol=0.02, atol=0.02)


def test_nothing_is_kept_without_gradients():
    text = draw(2, 3, 16, torch.float32, 0)
    video = draw(2, 3, 16, torch.float32, 1)

    means = TritonMaxSimilarity.apply(*text, *video, None, None, False)

    expected = in_chunks(text, video, None)
    for ours, reference in zip(means, expected, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


def test_the_kernel_is_used_where_the_head_asks_for_it(monkeypatch):
    text = draw(2, 3, 16, torch.float32, 0)
    video = draw(2, 3, 16, torch.float32, 1)
    asked = []
    monkeypatch.setattr(
        similarity,
        'max_similarity',
        lambda *bags: asked.append(bags[4]) or in_chunks(text, video, None),
    )
    features = [
        TokenFeatures(side.tokens, side.mask, side.tokens[:, 0])
        for side in (text, video)
    ]
    for head in (DMAEHead(16), DMAEHead(16, kernel='triton')):
        head(*features)
    assert asked == ['torch', 'torch', 'triton', 'triton']


@pytest.mark.parametrize('cuda', [True, False])
def test_a_missing_triton_is_one_error_where_it_would_run(monkeypatch, cuda):
    monkeypatch.setattr(similarity, 'find_spec', lambda name: None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: cuda)
    if not cuda:
        assert DMAEHead(kernel='triton').kernel == 'triton'
        return
    with pytest.raises(SetupError, match=r"install it.*kernel='torch'"):
        DMAEHead(kernel='triton')


def test_what_the_kernel_cannot_do_is_an_error():
    with pytest.raises(ValueError, match="not 'cuda'"):
        DMAEHead(kernel='cuda')
    with pytest.raises(SetupError, match='learned'):
        DMAEHead(kernel='triton', weighting='learned')


@pytest.mark.parametrize(
    ('tokens', 'dtype', 'problem'),
    [
        (129, torch.float32, '129 tokens, more than 128'),
        (128, torch.float64, 'float64'),
    ],
)
def test_features_that_do_not_fit_are_named(tokens, dtype, problem):
    text, video = (
        draw(1, size, 8, dtype, 0)._replace(
            weight=torch.ones(1, size, dtype=dtype)
        )
        for size in (tokens, 3)
    )
    for sides in ((text, video), (video, text)):
        with pytest.raises(SetupError, match=problem):
            similarity._check_triton_input(*sides)
    if dtype == torch.float32:
        fitting = draw(1, 128, 8, dtype, 0)
        similarity._check_triton_input(fitting, video)
