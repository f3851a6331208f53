"""Dual-modal attention: golden values, a slow loop, and its invariances."""

import pytest
import torch

from mmtvr.models.heads import DMAEHead
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

BOTH = ('sentence', 'word')
OPTIONS = [
    dict(levels=levels, weighting=weighting, visual_attention=c)
    for levels in (('sentence',), ('word',), BOTH)
    for weighting in ('mean', 'learned')
    for c in (0.0, 0.5)
]


def scorers(head):
    def score(weights):
        return getattr(weights, 'score', None)

    return dict(
        word_scorer=score(head.word_weights),
        frame_scorer=score(head.frame_weights),
    )


def make_head(width=8, **options):
    torch.manual_seed(0)
    return DMAEHead(width, **options).double()


@pytest.mark.parametrize('levels', [('sentence',), BOTH])
@pytest.mark.parametrize('c', [0.0, 0.5])
def test_similarity_equals_released_values(golden, golden_pair, levels, c):
    name = f'sim_{"att_" * (len(levels) - 1)}ti_nfc{int(c > 0)}'
    expected = torch.tensor(golden[name]).double()

    sim = DMAEHead(8, levels=levels, visual_attention=c)(*golden_pair)

    torch.testing.assert_close(sim, expected, rtol=0, atol=5e-8)


@pytest.mark.parametrize('levels', [('sentence',), BOTH])
@pytest.mark.parametrize('c', [0.0, 0.5])
def test_random_similarity_equals_released_values(golden_arrays, levels, c):
    arrays = golden_arrays
    weight = arrays['word_weight'].double()
    frames = arrays['frames']
    text = TokenFeatures(
        arrays['words'], weight > 0, arrays['sentence'], weight
    )
    video = TokenFeatures(frames, arrays['frame_mask'].bool(), frames.mean(1))
    name = f'sim_{"_".join(levels)}_{"va" if c else "plain"}'

    sim = DMAEHead(32, levels=levels, visual_attention=c)(text, video)

    torch.testing.assert_close(sim, arrays[name], rtol=0, atol=1e-10)


def test_learned_weights_equal_released_values_up_to_their_sum(
    golden, golden_pair, gen, slow_similarity
):
    """The released weights are not brought to sum 1; ours are."""
    head = make_head(weighting='learned')
    head.word_weights.score[-1].weight.data = gen((1, 8), 1.0)
    head.frame_weights.score[-1].weight.data = gen((1, 8), 2.0)
    text, video = golden_pair
    released = torch.tensor(golden['sim_att_wti_nfc1']).double()

    unscaled = slow_similarity(
        text, video, BOTH, **scorers(head), renormalise=False
    )
    scaled = slow_similarity(text, video, BOTH, **scorers(head))

    torch.testing.assert_close(unscaled, released, rtol=0, atol=5e-8)
    torch.testing.assert_close(head(text, video), scaled)


@pytest.mark.parametrize('options', OPTIONS)
def test_similarity_equals_slow_loop(features, slow_similarity, options):
    text = features(4, 5, seed=1, key_words=True)
    video = features(3, 6, seed=2)
    head = make_head(**options, hidden_layers=1)

    sim = head(text, video)

    expected = slow_similarity(
        text,
        video,
        head.levels,
        head.visual_attention,
        **scorers(head),
    )
    torch.testing.assert_close(sim, expected, rtol=0, atol=1e-12)


def identical(words, frames, weight=None):
    vector = torch.nn.functional.normalize(
        torch.ones(1, 1, 8).double(), dim=-1
    )
    text = TokenFeatures(
        vector.expand(1, words, 8),
        torch.ones(1, words, dtype=torch.bool),
        vector[:, 0],
        weight,
    )
    video = TokenFeatures(
        vector.expand(1, frames, 8),
        torch.ones(1, frames, dtype=torch.bool),
        vector[:, 0],
    )
    return text, video


@pytest.mark.parametrize('weighting', ['mean', 'learned'])
def test_identical_vectors_score_one_for_any_key_words(weighting):
    head = make_head(weighting=weighting, visual_attention=0.0)
    for weight in ([1, 1, 1], [2, 1, 1], [2, 2, 2]):
        pair = identical(3, 4, torch.tensor([weight]).double())

        assert head(*pair).item() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(('frames', 'expected'), [(1, 1.0), (2, 1.25)])
def test_second_frame_adds_half_of_half(frames, expected):
    head = make_head(levels=('sentence',))

    assert head(*identical(1, frames)).item() == pytest.approx(expected)


def test_key_word_of_largest_score_raises_similarity(features):
    text, video = features(4, 5, seed=3), features(3, 4, seed=4)
    head = make_head(levels=('word',), visual_attention=0.0)
    plain = head(text, video)
    cosine = torch.einsum('bpd,vqd->bvpq', text.tokens, video.tokens)
    cosine = cosine.masked_fill(~video.mask[None, :, None], -2.0)
    cosine = cosine.masked_fill(~text.mask[:, None, :, None], -2.0)
    for i in range(4):
        for j in range(3):
            weight = text.mask.double()
            weight[i, cosine[i, j].max(-1).values.argmax()] = 2.0
            raised = head(text._replace(weight=weight), video)
            assert raised[i, j] >= plain[i, j]
            others = torch.arange(4) != i
            assert torch.equal(raised[others], plain[others])


@pytest.mark.parametrize('options', OPTIONS)
def test_rows_columns_words_and_frames_may_be_reordered(features, options):
    head = make_head(**options)
    text = features(5, 4, seed=7, key_words=True)
    video = features(3, 6, seed=8)
    rows, columns = torch.randperm(5), torch.randperm(3)
    words, frames = torch.randperm(4), torch.randperm(6)
    expected = head(text, video)

    permuted = head(text.select(rows), video.select(columns))
    reordered = head(
        text._replace(
            tokens=text.tokens[:, words],
            mask=text.mask[:, words],
            weight=text.weight[:, words],
        ),
        video._replace(
            tokens=video.tokens[:, frames], mask=video.mask[:, frames]
        ),
    )

    exact = dict(rtol=0, atol=1e-14)
    torch.testing.assert_close(permuted, expected[rows][:, columns], **exact)
    torch.testing.assert_close(reordered, expected, **exact)


def test_blocks_of_texts_equal_one_shot(features):
    text, video = features(7, 5, seed=9), features(4, 6, seed=10)
    head, in_blocks = make_head(), make_head(block_bytes=1)

    expected = head(text, video)

    exact = dict(rtol=0, atol=1e-14)
    torch.testing.assert_close(in_blocks(text, video), expected, **exact)
    sliced = head(text.select(slice(2, 4)), video)
    torch.testing.assert_close(sliced, expected[2:4], **exact)


def test_only_the_text_half_has_visual_attention(features):
    text = features(3, 4, seed=11, shortest=4)
    video = features(3, 4, seed=12, shortest=4)
    attended = make_head(levels=('word',))
    plain = make_head(levels=('word',), visual_attention=0.0)

    torch.testing.assert_close(plain(text, video), plain(video, text).mT)
    assert not torch.allclose(attended(text, video), attended(video, text).mT)


def test_both_levels_are_the_mean_of_each(features):
    text, video = features(3, 4, seed=13), features(3, 4, seed=14)
    sentence = make_head(levels=('sentence',))
    words = make_head(levels=('word',))
    other_words = text._replace(tokens=-text.tokens)

    both = make_head()(text, video)

    mean = (sentence(text, video) + words(text, video)) / 2
    torch.testing.assert_close(both, mean)
    assert torch.equal(sentence(other_words, video), sentence(text, video))


@pytest.mark.parametrize('level_weights', ['learned', 'gated'])
def test_levels_count_as_the_model_or_the_caption_says(
    features, level_weights
):
    text, video = features(3, 4, seed=13), features(2, 4, seed=14)
    sentence = make_head(levels=('sentence',))(text, video)
    words = make_head(levels=('word',))(text, video)
    width = text.pooled.shape[1]
    head = make_head(width, level_weights=level_weights)
    torch.testing.assert_close(head(text, video), (sentence + words) / 2)
    torch.manual_seed(0)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)

    scores = head(text, video)

    for row, vector in enumerate(text.pooled):
        logits = head.level_bias.detach().clone()
        if level_weights == 'gated':
            logits += head.level_gate.weight @ vector
        share = logits[0].exp() / logits.exp().sum()
        expected = share * sentence[row] + (1 - share) * words[row]
        torch.testing.assert_close(scores[row], expected)
    total = sum(head.parts(text, video).values())
    torch.testing.assert_close(total, scores)


@pytest.mark.parametrize('options', OPTIONS)
def test_gradients_pass_gradcheck(features, options):
    head = make_head(4, **options)
    text = features(2, 3, 4, seed=15, key_words=True)
    video = features(3, 3, 4, seed=16)
    tensors = [text.tokens, text.pooled, video.tokens, *head.parameters()]
    for tensor in tensors:
        tensor.requires_grad_()

    def score(words, sentence, frames, *parameters):
        return head(
            text._replace(tokens=words, pooled=sentence),
            video._replace(tokens=frames),
        )

    assert torch.autograd.gradcheck(score, tensors)


@pytest.mark.parametrize('options', OPTIONS)
def test_half_precision_model_still_scores(features, options):
    head = DMAEHead(8, **options).to(torch.bfloat16)

    assert head(features(2, 3), features(2, 3)).isfinite().all()


def test_arguments_keep_their_places():
    head = DMAEHead(8, ('word',), 'learned', 0.0, 1)

    assert head.levels == ('word',)
    assert len(head.word_weights.score) == 3
    assert head.visual_attention == 0.0


def test_builds_from_a_bare_dict():
    head = MODELS.build(dict(type='mmtvr.DMAEHead'))

    assert head.levels == BOTH
    assert head.visual_attention == 0.5
    assert not list(head.parameters())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(levels=('phrase',)), 'levels must be'),
        (dict(levels=()), 'levels must be'),
        (dict(levels=('word', 'word')), 'levels must be'),
        (dict(weighting='max'), 'weighting must be'),
        (dict(level_weights='one'), 'level_weights must be'),
    ],
)
def test_unknown_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DMAEHead(**options)
