import math
from itertools import product

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mmtvr.models import DMAEHead, PartialOrderLoss, RandomMasker
from mmtvr.models.partial_order import partial_order
from mmtvr.models.partial_order.order_loss import (
    compare_pairs,
    hardest_negative,
    wrong_partners,
)
from mmtvr.ops import features_of_frames
from mmtvr.registry import MODELS

WIDTH, WORDS, FRAMES, PAIRS = 32, 6, 4, 8


def softplus(x):
    return math.log1p(math.exp(x))


def test_values_by_hand():
    full, partial, negative = (
        torch.tensor([values]).double() for values in (0.5, 0.4, 0.2)
    )
    yes = torch.tensor([True])
    loss = partial_order(full, partial, negative, yes, 10.0)
    assert loss.item() == pytest.approx(softplus(-1.0) + softplus(-2.0))
    loss = partial_order(full, partial, negative, yes, 10.0, 2.0, 0.5)
    assert loss.item() == pytest.approx(2 * softplus(-1.0) + softplus(-2) / 2)


def test_pairs_without_partial_version_or_negative_cost_nothing():
    full = torch.tensor([0.5, 0.1, 0.5]).double().requires_grad_()
    partial = torch.tensor([0.4, 0.9, 0.4]).double().requires_grad_()
    negative = torch.tensor([0.2, 0.2, -math.inf]).double()
    scale = torch.tensor(10.0).double().requires_grad_()
    valid = torch.tensor([True, False, True])
    loss = partial_order(full, partial, negative, valid, scale)
    expected = softplus(-1.0) + softplus(-2.0) + softplus(-1.0)
    assert loss.item() == pytest.approx(expected / 2)
    loss.backward()
    assert full.grad[1] == partial.grad[1] == 0
    assert torch.isfinite(scale.grad)
    nothing = partial_order(full, partial, negative, ~valid & False, scale)
    assert nothing == 0


def test_hardest_negative_is_no_match():
    sim = torch.tensor([[0.9, 0.8, 0.1], [0.3, 0.2, 0.4]])
    match = torch.tensor([[True, True, False], [True, True, True]])
    assert hardest_negative(sim, match).tolist() == pytest.approx(
        [0.1, -math.inf]
    )


def test_pairs_in_blocks_are_the_diagonal():
    torch.manual_seed(0)
    mask = torch.rand(11, 5) > 0.3
    mask[:, 0] = True
    text, video = (
        features_of_frames(torch.randn(11, 5, WIDTH), mask) for _ in range(2)
    )
    head = DMAEHead(WIDTH)
    torch.testing.assert_close(
        compare_pairs(head, text, video, block=4),
        head(text, video).diagonal(),
    )


def test_settings_are_checked():
    with pytest.raises(ValueError, match='text_masker'):
        PartialOrderLoss()
    with pytest.raises(ValueError, match='share'):
        PartialOrderLoss(RandomMasker(), share=0.0)
    with pytest.raises(ValueError, match=r"negatives.*'all'"):
        PartialOrderLoss(RandomMasker(), negatives='all')


def test_rows_without_a_wrong_partner_cost_nothing():
    sim = torch.tensor([[0.5, 0.1], [0.2, 0.4]], requires_grad=True)
    match = torch.tensor([[True, True], [False, True]])
    scale = torch.tensor(100.0, requires_grad=True)
    negative = wrong_partners(sim, match, scale)
    assert negative[1].item() == pytest.approx(0.2)
    valid = torch.ones(2).bool()
    value = partial_order(sim[:, 0], sim[:, 1], negative, valid, scale)
    value.backward()
    # Of the first row only full > partial counts.
    assert sim.grad[0].sum().item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(sim.grad).all()
    assert torch.isfinite(scale.grad)


def model_of(clip, **changes):
    from mmengine.registry import init_default_scope

    init_default_scope('mmtvr')
    torch.manual_seed(0)
    masker = dict(type='mmtvr.ImportanceMasker', embed_dims=WIDTH, explore=0.0)
    loss = dict(
        type='mmtvr.PartialOrderLoss',
        text_masker=masker,
        video_masker=dict(masker, share=0.5),
        loss_weight=1.0,
    )
    config = dict(
        type='mmtvr.TextVideoRetriever',
        text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
        frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
        temporal=dict(
            type='mmtvr.FrameTransformer', embed_dims=WIDTH, num_layers=1
        ),
        head=dict(type='mmtvr.DMAEHead', embed_dims=WIDTH),
        contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
        logit_scale=dict(init=10.0),
    )
    loss |= changes.pop('loss', {})
    return MODELS.build({**config, 'partial_loss': loss, **changes}).double()


def inputs_of(rows, ids=None):
    generator = torch.Generator().manual_seed(1)
    size = (PAIRS, FRAMES, 3, 32, 32)
    tokens = torch.randint(200, (PAIRS, WORDS), generator=generator)
    length = torch.randint(3, WORDS + 1, (PAIRS, 1), generator=generator)
    ids = torch.arange(PAIRS)
    ids[6] = 2
    return dict(
        frames=torch.randn(size, generator=generator).double()[rows],
        frame_mask=torch.ones(PAIRS, FRAMES).bool()[rows],
        tokens=tokens[rows],
        token_mask=(torch.arange(WORDS) < length)[rows],
        video_of_text=torch.arange(len(rows)),
        video_ids=ids[rows],
    )


def terms_of(losses):
    return {k: v for k, v in losses.items() if 'loss' in k}


@pytest.mark.parametrize('negatives', ['hardest', 'same side'])
def test_model_gives_the_values_of_a_slow_loop(tiny_clip, negatives):
    model = model_of(str(tiny_clip), loss=dict(negatives=negatives)).eval()
    inputs = inputs_of(list(range(PAIRS)))
    losses = model(inputs, mode='loss')
    text, video = model(inputs, mode='tensor')
    frames = model.extract_frames(inputs)
    loss = model.partial_loss
    sim = model.similarity(text, video)
    words = model.removable_words(inputs['token_mask'])
    gone = loss.text_masker(text, video, words)
    lost = loss.video_masker(video, text, video.mask)
    costs, of_frames, errors = [], [], []
    for i, row in enumerate(gone):
        wrong = [
            j
            for j in range(PAIRS)
            if inputs['video_ids'][j] != inputs['video_ids'][i]
        ]
        of_text = of_video = max(sim[i, j].item() for j in wrong)
        if negatives == 'same side':
            of_text = (10 * sim[wrong, i]).logsumexp(0).item() / 10
            of_video = (10 * sim[i, wrong]).logsumexp(0).item() / 10
        keep = inputs['token_mask'][i] & ~row
        short = inputs['tokens'][i, keep][None]
        shorter = model.extract_text(
            dict(tokens=short, token_mask=torch.ones_like(short).bool())
        )
        kept = frames.tokens[i, ~lost[i]][None]
        cut = model.mix_frames(
            features_of_frames(kept, torch.ones(kept.shape[:2]).bool())
        )
        own = video.select(slice(i, i + 1)), text.select(slice(i, i + 1))
        for value, negative, found in (
            (model.similarity(shorter, own[0]).item(), of_text, costs),
            (model.similarity(own[1], cut).item(), of_video, of_frames),
        ):
            if found is costs and not row.any():
                continue
            full = sim[i, i].item()
            found.append(
                softplus(10 * (value - full))
                + softplus(10 * (negative - value))
            )
            if found is costs:
                importance = loss.text_masker.weigh(own[1], own[0])[0, row]
                drop = 10 * (full - value)
                errors.append((importance.sum().item() - drop) ** 2)
    for name, values in (
        ('loss_partial_text', costs),
        ('loss_partial_video', of_frames),
        ('loss_importance_text', errors),
    ):
        expected = sum(values) / len(values)
        assert losses[name].item() == pytest.approx(expected, rel=1e-6), name
    assert 0 <= losses['partial_text_below_full'] <= 1
    losses['loss_partial_text'].backward()
    assert model.text_encoder.clip.text_projection.weight.grad.any()


def test_share_of_the_batch_is_drawn(tiny_clip):
    model = model_of(str(tiny_clip), loss=dict(share=0.5, video_masker=None))
    seen = []
    model.text_encoder.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    losses = model(inputs_of(list(range(PAIRS))), mode='loss')
    assert seen == [8, 4]
    assert 'loss_partial_video' not in losses


def test_frame_tower_runs_once(tiny_clip):
    model = model_of(str(tiny_clip))
    calls = []
    model.frame_encoder.register_forward_hook(lambda *_: calls.append(1))
    model(inputs_of(list(range(PAIRS))), mode='loss')
    assert calls == [1]


def test_chunks_change_nothing(tiny_clip):
    inputs = inputs_of(list(range(PAIRS)))
    whole, chunked = (
        model_of(str(tiny_clip), cached_contrastive=chunk)
        for chunk in (None, dict(chunk=3))
    )
    results = []
    for model in (whole, chunked):
        losses = model(inputs, mode='loss')
        sum(terms_of(losses).values()).backward()
        results.append(
            (terms_of(losses), [p.grad for p in model.parameters()])
        )
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(results[0][0], results[1][0])


SIZES = [(4, 4), (3, 5)]


@pytest.fixture(scope='module')
def two_ranks(tiny_clip, tmp_path_factory, in_processes):
    folder = tmp_path_factory.mktemp('ranks')

    def work():
        rank = dist.get_rank()
        for sizes in SIZES:
            first = sum(sizes[:rank])
            model = DistributedDataParallel(model_of(str(tiny_clip)))
            rows = list(range(first, first + sizes[rank]))
            losses = terms_of(model(inputs_of(rows), mode='loss'))
            sum(losses.values()).backward()
            gradients = {
                name.removeprefix('module.'): parameter.grad
                for name, parameter in model.named_parameters()
            }
            losses = {k: v.detach() for k, v in losses.items()}
            torch.save((losses, gradients), f'{folder}/{sizes[rank]}-{rank}')

    in_processes(2, work)
    return folder


@pytest.mark.parametrize('sizes', SIZES)
def test_two_processes_give_losses_and_gradients_of_one(
    sizes, tiny_clip, two_ranks
):
    model = model_of(str(tiny_clip))
    alone = terms_of(model(inputs_of(list(range(PAIRS))), mode='loss'))
    sum(alone.values()).backward()
    for rank, size in enumerate(sizes):
        losses, gradients = torch.load(two_ranks / f'{size}-{rank}')
        for name, value in alone.items():
            assert losses[name].item() == pytest.approx(value.item()), name
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().sum() > 0, name
            torch.testing.assert_close(
                gradients[name], parameter.grad, rtol=1e-8, atol=1e-10
            )


def test_every_masker_trains_in_a_model(tiny_clip):
    names = ('Random', 'Span', 'KeyWord')
    for name, side in product(names, ('text_masker', 'video_masker')):
        off = dict(text_masker=None, video_masker=None)
        loss = {**off, side: dict(type=f'mmtvr.{name}Masker')}
        model = model_of(str(tiny_clip), loss=loss)
        losses = terms_of(model(inputs_of([0, 1, 2]), mode='loss'))
        assert all(torch.isfinite(value) for value in losses.values())
