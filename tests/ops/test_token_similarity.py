"""The masked max-similarity kernel by itself."""

import pytest
import torch
from torch.nn.functional import normalize

from mmtvr.ops import nearest_frames, text_blocks
from mmtvr.ops import token_similarity as plain_similarity
from mmtvr.structures import TokenFeatures


def bag(tokens, mask=None, weight=None):
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool)
    return TokenFeatures(tokens, mask, tokens.mean(1), weight)


def token_similarity(text, video, visual_attention=0.0, block_bytes=2**28):
    neighbours = nearest_frames(video, visual_attention)
    return plain_similarity(text, video, neighbours, block_bytes)


def random_pair(texts=5, videos=4, words=6, frames=3, width=8):
    text = normalize(torch.randn(texts, words, width).double(), dim=-1)
    video = normalize(torch.randn(videos, frames, width).double(), dim=-1)
    return bag(text), bag(video)


def test_hand_made_pair_gives_hand_computed_value():
    """Words x, y; frames x and (3x + 4y) / 5: maxima 1, .8 and 1, .8."""
    axes = torch.eye(2, dtype=torch.float64)
    frames = torch.stack([axes[0], torch.tensor([0.6, 0.8]).double()])
    weight = torch.tensor([[1.0, 3.0]]).double()

    sim = token_similarity(bag(axes[None]), bag(frames[None]))
    weighted = token_similarity(
        bag(axes[None], weight=weight), bag(frames[None])
    )

    assert sim.item() == pytest.approx(0.9)
    assert weighted.item() == pytest.approx(0.5 * (0.25 + 0.6 + 0.9))


def test_visual_attention_adds_the_neighbour_of_the_best_frame():
    """Frame 2 has the second-best text score; frame 1 is the neighbour."""
    text = torch.tensor([[[1.0, 0.0, 0.0]]]).double()
    frames = normalize(
        torch.tensor(
            [[0.9, 0.43, 0.0], [0.7, 0.7, 0.0], [0.8, -0.1, 0.6]]
        ).double(),
        dim=-1,
    )[None]
    scores = (frames[0] @ text[0, 0]).tolist()
    assert scores[0] > scores[2] > scores[1]

    plain = token_similarity(bag(text), bag(frames))
    attended = token_similarity(bag(text), bag(frames), visual_attention=0.5)

    bonus = 0.5 * (frames[0, 0] @ frames[0, 1]).item() * scores[1]
    assert (attended - plain).item() == pytest.approx(0.5 * bonus)


def test_nearest_frames_skip_padding_and_opposite_frames():
    frames = torch.tensor(
        [
            [[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]],
            [[1.0, 0.0], [-1.0, 0.0], [-0.8, 0.6]],
        ]
    )
    mask = torch.tensor([[True, False, True], [True, True, True]])

    cosine, index = nearest_frames(bag(frames, mask), 1.0)

    assert cosine[0, 0].item() == pytest.approx(0.8)
    assert index[0].tolist()[::2] == [2, 0]
    assert (cosine[1, 0].item(), index[1, 0].item()) == (0.0, 0)
    assert index[1].tolist() == [0, 2, 1]


@pytest.mark.parametrize('visual_attention', [0.0, 0.5])
@pytest.mark.parametrize('texts_per_block', [1, 2, 5])
def test_blocks_give_scores_and_gradients_of_one_shot(
    visual_attention, texts_per_block
):
    torch.manual_seed(0)
    text, video = random_pair()
    row_bytes = 6 * 4 * 3 * 8
    results = []
    for block_bytes in (2**28, texts_per_block * row_bytes):
        leaves = [
            side.tokens.clone().requires_grad_() for side in (text, video)
        ]
        sim = token_similarity(
            text._replace(tokens=leaves[0]),
            video._replace(tokens=leaves[1]),
            visual_attention,
            block_bytes,
        )
        grads = torch.autograd.grad(sim.pow(2).sum(), leaves)
        results.append((sim.detach(), *grads))

    for one_shot, in_blocks in zip(*results, strict=True):
        torch.testing.assert_close(in_blocks, one_shot, rtol=0, atol=1e-14)


def test_text_blocks_respect_the_budget():
    sizes = []

    def score(rows, videos):
        sizes.append(len(rows))
        return rows @ videos.mT

    rows, videos = torch.randn(7, 2), torch.randn(3, 2)
    result = text_blocks(score, (rows,), videos, row_bytes=10, block_bytes=25)

    assert sizes == [2, 2, 2, 1]
    torch.testing.assert_close(result, rows @ videos.mT)


@pytest.mark.parametrize('visual_attention', [0.0, 0.5])
@pytest.mark.parametrize('content', [7.0, -7.0, float('nan'), float('inf')])
def test_padding_of_any_content_changes_nothing(content, visual_attention):
    torch.manual_seed(1)
    for sign in (1.0, -1.0):
        text, video = random_pair()
        text = text._replace(tokens=text.tokens.abs() * sign)
        video = video._replace(tokens=video.tokens.abs())
        expected = token_similarity(text, video, visual_attention)
        padded = [
            bag(
                torch.cat([side.tokens, side.tokens[:, :2] * content], 1),
                torch.cat([side.mask, torch.zeros_like(side.mask[:, :2])], 1),
            )
            for side in (text, video)
        ]
        for side in padded:
            side.tokens.requires_grad_()

        sim = token_similarity(*padded, visual_attention)
        sim.sum().backward()

        torch.testing.assert_close(sim, expected, rtol=0, atol=1e-12)
        for side in padded:
            assert side.tokens.grad.isfinite().all()
            assert not side.tokens.grad[~side.mask].any()


@pytest.mark.parametrize('visual_attention', [0.0, 0.5])
def test_side_without_tokens_scores_zero_with_zero_gradient(visual_attention):
    text, video = random_pair()
    text.mask[1] = False
    video.mask[2] = False
    leaves = [side.tokens.requires_grad_() for side in (text, video)]

    sim = token_similarity(text, video, visual_attention)
    grads = torch.autograd.grad(sim.sum(), leaves)

    assert not sim[1].any()
    assert not sim[:, 2].any()
    assert sim[0, 0] != 0
    assert all(grad.isfinite().all() for grad in grads)
    assert not grads[0][1].any()
    assert not grads[1][2].any()


def test_no_texts_give_no_rows():
    text, video = random_pair(texts=0)

    assert token_similarity(text, video, 0.5).shape == (0, 4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    text, video = random_pair()
    halves = [bag(side.tokens.to(dtype)) for side in (text, video)]
    singles = [bag(side.tokens.float()) for side in halves]

    with torch.autocast('cpu', dtype=torch.bfloat16):
        sim = token_similarity(*halves, visual_attention=0.5)

    assert sim.dtype == torch.float32
    torch.testing.assert_close(
        sim, token_similarity(*singles, visual_attention=0.5), rtol=0, atol=0
    )


def test_gradients_pass_gradcheck():
    torch.manual_seed(2)
    text, video = random_pair(texts=2, videos=3, words=3, frames=3, width=4)
    text.mask[0, 2] = False
    video.mask[1, 1:] = False
    weight = torch.rand(2, 3).double()

    def score(words, weight, frames):
        return token_similarity(
            text._replace(tokens=words, weight=weight),
            video._replace(tokens=frames),
            visual_attention=0.5,
            block_bytes=1,
        )

    leaves = (text.tokens, weight, video.tokens)
    for leaf in leaves:
        leaf.requires_grad_()
    assert torch.autograd.gradcheck(score, leaves)


@pytest.mark.parametrize('visual_attention', [0.0, 0.5])
def test_backward_keeps_no_cosines(visual_attention):
    """Beside tokens: a byte per best word or frame, and second scores."""
    torch.manual_seed(3)
    text, video = random_pair(texts=16, videos=16, words=8, frames=8)
    text.tokens.requires_grad_()
    saved = {}

    def pack(tensor):
        saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        token_similarity(text, video, visual_attention, block_bytes=2**15)

    tokens = 2 * 16 * 8 * (8 + 2) * 8
    numbers = 2 * 16 * 16 * 8
    second = 16 * 16 * 8 * 8 if visual_attention else 0
    small = 16 * 16 * 8 * 4
    assert sum(saved.values()) <= tokens + numbers + second + small
    assert small < 16 * 16 * 8 * 8 * 8 / 8


def test_products_stay_within_the_budget(monkeypatch):
    text, video = random_pair(texts=9, videos=4, words=6, frames=3)
    row_bytes = 6 * 4 * 3 * 8
    sizes = []
    multiply = torch.mm

    def record(left, right, out):
        sizes.append(out.numel() * out.element_size())
        return multiply(left, right, out=out)

    monkeypatch.setattr(torch, 'mm', record)
    token_similarity(text, video, block_bytes=2 * row_bytes)

    assert sizes == [2 * row_bytes] * 4 + [row_bytes]


def test_first_of_equal_frames_brings_its_neighbour():
    """Frames 0 and 1 tie for the word; their neighbours differ."""
    frames = normalize(
        torch.tensor(
            [[[1.0, 1, 0], [1, -1, 0], [0.8, 1, 0.1], [0.9, -1, 0.9]]]
        ).double(),
        dim=-1,
    )
    word = torch.tensor([[[1.0, 0.0, 0.0]]]).double()
    cosine = frames[0] @ frames[0].mT
    assert cosine[0, 2] > 0.9 > cosine[1, 3] > 0.5

    plain = token_similarity(bag(word), bag(frames))
    attended = token_similarity(bag(word), bag(frames), visual_attention=0.5)

    assert frames[0, 3, 0] < frames[0, 0, 0] == frames[0, 1, 0]
    bonus = 0.5 * cosine[0, 2] * frames[0, 2, 0]
    assert (attended - plain).item() == pytest.approx(0.5 * bonus.item())


@pytest.mark.parametrize('size', [255, 256, 300])
def test_more_tokens_than_a_byte_counts(size):
    torch.manual_seed(4)
    text, video = random_pair(texts=2, videos=2, words=size, frames=2)
    words = text.tokens.requires_grad_()

    token_similarity(text, video).sum().backward()

    cosine = torch.einsum('bpd,vqd->bvpq', words, video.tokens)
    expected = (cosine.amax(3).mean(2) + cosine.amax(2).mean(2)) / 2
    (reference,) = torch.autograd.grad(expected.sum(), words)
    torch.testing.assert_close(words.grad, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize('attention', [0.0, 0.5])
def test_a_nan_reaches_the_similarity_and_the_gradients(attention):
    """So that what guards the training sees it; no index is out of range."""
    text, video = random_pair()
    tokens = text.tokens.clone()
    tokens[1] = float('nan')
    text = bag(tokens.requires_grad_())
    sim = token_similarity(text, video, attention)
    assert sim.isnan().all(1).tolist() == [False, True, False, False, False]
    assert sim.isnan().any(1).sum() == 1
    sim.sum().backward()
    assert text.tokens.grad[0].isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(
            token_similarity(text, video, attention), sim, equal_nan=True
        )
