import pytest
import torch

from mmtvr.models import (
    ImportanceMasker,
    KeyWordMasker,
    RandomMasker,
    SpanMasker,
)
from mmtvr.models.partial_order.maskers import remove_highest, share_of
from mmtvr.structures import TokenFeatures

WIDTH = 8


def sides(rows=40, words=9, frames=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(tokens):
        x = torch.randn(rows, tokens, WIDTH, generator=generator)
        x = torch.nn.functional.normalize(x, dim=-1)
        real = torch.randint(2, tokens + 1, (rows, 1), generator=generator)
        return TokenFeatures(x, torch.arange(tokens) < real, x[:, 0])

    text, video = draw(words), draw(frames)
    weight = 1.0 + (torch.rand(rows, words, generator=generator) > 0.6)
    return text._replace(weight=weight * text.mask), video


MASKERS = [
    RandomMasker(0.4),
    SpanMasker(0.4),
    KeyWordMasker(0.4),
    ImportanceMasker(0.4, 'cosine'),
    ImportanceMasker(0.4, 'learned', WIDTH),
]


@pytest.mark.parametrize('masker', MASKERS, ids=lambda m: type(m).__name__)
def test_only_removable_tokens_go_and_one_stays(masker):
    text, video = sides()
    removable = text.mask.clone()
    removable[:, 0] = False
    removed = masker(text, video, removable)
    assert not (removed & ~removable).any()
    tokens = removable.sum(1)
    assert ((removable & ~removed).any(1) | (tokens == 0)).all()
    assert not removed[tokens < 2].any()
    if not isinstance(masker, KeyWordMasker):
        assert torch.equal(removed.sum(1), share_of(removable, 0.4))
        assert removed[tokens > 1].any(1).all()


def test_count_is_rounded_and_bounded():
    tokens = torch.tensor([0, 1, 2, 3, 5, 8])
    mask = torch.arange(8) < tokens[:, None]
    assert share_of(mask, 0.3).tolist() == [0, 0, 1, 1, 2, 2]
    assert share_of(mask, 0.9).tolist() == [0, 0, 1, 2, 4, 7]


def test_spans_are_neighbours_and_start_anywhere():
    text, video = sides(rows=400)
    mask = torch.ones_like(text.mask)
    removed = SpanMasker(0.34)(text, video, mask)
    first = removed.int().argmax(1)
    place = torch.arange(9)
    expected = (place >= first[:, None]) & (place < first[:, None] + 3)
    assert torch.equal(removed, expected)
    assert set(first.tolist()) == set(range(7))


def test_key_words_alone_go():
    text, video = sides()
    removed = KeyWordMasker(0.5)(text, video, text.mask)
    key = text.mask & (text.weight > 1)
    assert not (removed & ~key).any()
    assert removed.any(1)[key.any(1)].all()
    assert not removed[~key.any(1)].any()
    plain = text._replace(weight=None)
    assert not KeyWordMasker(0.5)(plain, video, text.mask).any()


def test_highest_go_equal_ones_in_order():
    rating = torch.tensor([[0.1, 0.9, 0.9, 5.0]])
    removable = torch.tensor([[True, True, True, False]])
    removed = remove_highest(rating, removable, torch.tensor([1]))
    assert removed.tolist() == [[False, True, False, False]]


def test_cosine_importance_removes_what_matches():
    mask = torch.ones(1, 3).bool()
    words = torch.eye(WIDTH)[None, :3]
    text = TokenFeatures(words, mask, words[:, 0])
    frame = torch.eye(WIDTH)[None, 1:2]
    video = TokenFeatures(frame, torch.ones(1, 1).bool(), frame[:, 0])
    removed = ImportanceMasker(0.3, 'cosine')(text, video, mask)
    assert removed.tolist() == [[False, True, False]]


def test_importance_does_not_depend_on_place_or_padding():
    text, video = sides()
    masker = ImportanceMasker(0.3, 'learned', WIDTH).eval()
    weight = masker.weigh(text, video)
    order = torch.randperm(9)
    moved = text.map(lambda x: x[:, order] if x.shape[1] == 9 else x)
    torch.testing.assert_close(masker.weigh(moved, video), weight[:, order])
    dirty = text._replace(
        tokens=text.tokens.masked_fill(~text.mask[..., None], 7.0)
    )
    torch.testing.assert_close(masker.weigh(dirty, video), weight)
    assert not weight[~text.mask].any()


def test_predictor_learns_which_tokens_carry_the_match():
    """The drop is 1 for each removed token that equals a frame."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    basis = torch.eye(WIDTH)
    masker = ImportanceMasker(0.3, 'learned', WIDTH, explore=0.5)
    optimizer = torch.optim.Adam(masker.parameters(), 0.01)

    def draw(rows=64):
        words = torch.rand(rows, WIDTH, generator=generator).argsort(1)[:, :6]
        frames = torch.rand(rows, WIDTH, generator=generator).argsort(1)
        frames = frames[:, :4]
        hit = (words[:, :, None] == frames[:, None]).any(2)
        mask = torch.ones(rows, 6).bool()
        text = TokenFeatures(basis[words], mask, basis[words[:, 0]])
        video = TokenFeatures(basis[frames], mask[:, :4], basis[frames[:, 0]])
        return text, video, hit

    for _ in range(150):
        text, video, hit = draw()
        removed = masker(text, video, text.mask)
        drop = (removed & hit).sum(1).float()
        error = masker.expected_drop(text, video, removed) - drop
        optimizer.zero_grad()
        error.square().mean().backward()
        optimizer.step()
    text, video, hit = draw()
    masker.eval()
    removed = masker(text, video, text.mask)
    chosen = (removed & hit).sum(1).float().mean()
    random = (hit.float().mean(1) * removed.sum(1)).mean()
    assert chosen > 1.5 * random
    weight = masker.weigh(text, video)
    assert weight[hit].mean() > 0.8
    assert weight[~hit].abs().mean() < 0.2


def test_exploring_stops_in_evaluation():
    text, video = sides()
    masker = ImportanceMasker(0.3, 'learned', WIDTH, explore=1.0)
    chosen = [masker(text, video, text.mask) for _ in range(2)]
    assert not torch.equal(*chosen)
    masker.eval()
    chosen = [masker(text, video, text.mask) for _ in range(2)]
    assert torch.equal(*chosen)


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match=r'1\.5'):
        RandomMasker(1.5)
    with pytest.raises(ValueError, match='gradient'):
        ImportanceMasker(importance='gradient')
