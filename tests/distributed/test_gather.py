"""Several processes give the loss and the gradients of one."""

import logging
from itertools import product
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch.nn.parallel import DistributedDataParallel

from mmtvr.distributed.gather import gather_features, gather_rows
from mmtvr.engine import NonFiniteHook
from mmtvr.errors import NonFiniteError
from mmtvr.structures import TokenFeatures

WIDTH, WORDS, FRAMES = 32, 6, 3
SIZES = [(4, 4), (3, 5)]
CHUNKS = [None, dict(chunk=2)]
PARTIAL = dict(
    type='mmtvr.TPMCLLoss',
    embed_dims=WIDTH,
    max_words=WORDS,
    max_frames=FRAMES,
)
HEAD = dict(type='mmtvr.DMAEHead', embed_dims=WIDTH, weighting='learned')


def model_of(clip, cached=None):
    from mmengine.registry import init_default_scope

    from mmtvr.registry import MODELS

    init_default_scope('mmtvr')
    torch.manual_seed(0)
    temporal = dict(
        type='mmtvr.FrameTransformer', embed_dims=WIDTH, num_layers=1
    )
    return MODELS.build(
        dict(
            type='mmtvr.TextVideoRetriever',
            text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
            frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
            temporal=temporal,
            head=HEAD,
            contrastive_loss=dict(type='mmtvr.NegNCELoss'),
            partial_loss=PARTIAL,
            logit_scale=dict(init=10.0),
            cached_contrastive=cached,
        )
    ).double()


def inputs_of(rows):
    """Inputs of the chosen pairs out of 8; pairs 2 and 6 share a video."""
    generator = torch.Generator().manual_seed(1)
    total = 8
    frames = torch.randn(
        total, FRAMES, 3, 32, 32, generator=generator
    ).double()
    tokens = torch.randint(200, (total, WORDS), generator=generator)
    length = torch.randint(2, WORDS + 1, (total, 1), generator=generator)
    mask = torch.arange(WORDS) < length
    ids = torch.arange(total)
    ids[6] = 2
    return dict(
        frames=frames[rows],
        frame_mask=torch.ones(total, FRAMES).bool()[rows],
        tokens=tokens[rows],
        token_mask=mask[rows],
        token_weight=(mask * (1 + tokens % 2)).double()[rows],
        cut_pieces=torch.zeros(total).long()[rows],
        video_of_text=torch.arange(len(rows)),
        video_ids=ids[rows],
    )


def total_loss(losses):
    return losses['loss_contrastive'] + losses['loss_partial']


def train_steps(clip, folder):
    rank = dist.get_rank()
    for sizes, cached in product(SIZES, CHUNKS):
        first = sum(sizes[:rank])
        model = DistributedDataParallel(model_of(clip, cached))
        rows = list(range(first, first + sizes[rank]))
        shapes = []
        model.module.head.register_forward_hook(
            lambda *args, shapes=shapes: shapes.append(args[2].shape)
        )
        losses = model(inputs_of(rows), mode='loss')
        total_loss(losses).backward()
        gradients = {
            name.removeprefix('module.'): parameter.grad
            for name, parameter in model.named_parameters()
        }
        values = {k: v.detach() for k, v in losses.items()}
        values['compared'] = [tuple(shape) for shape in shapes]
        torch.save(
            (values, gradients),
            f'{folder}/{sizes[rank]}-{rank}-{bool(cached)}.pt',
        )


@pytest.fixture(scope='module')
def two_ranks(tiny_clip, tmp_path_factory, in_processes):
    """Losses and gradients of both ranks for all SIZES; guarded steps."""
    folder = tmp_path_factory.mktemp('ranks')

    def work():
        train_steps(str(tiny_clip), folder)
        half = list(range(4 * dist.get_rank(), 4 * dist.get_rank() + 4))
        model = DistributedDataParallel(model_of(str(tiny_clip), CHUNKS[1]))
        return guarded_steps(model, half, folder)

    return folder, in_processes(2, work)


@pytest.mark.parametrize('cached', CHUNKS)
@pytest.mark.parametrize('sizes', SIZES)
def test_loss_and_gradients_equal_those_of_one_process(
    sizes, cached, tiny_clip, two_ranks
):
    folder, _ = two_ranks
    model = model_of(str(tiny_clip))
    alone = model(inputs_of(list(range(8))), mode='loss')
    total_loss(alone).backward()
    ranks = [
        torch.load(folder / f'{size}-{rank}-{bool(cached)}.pt')
        for rank, size in enumerate(sizes)
    ]
    for size, (losses, _) in zip(sizes, ranks, strict=True):
        assert losses['compared'] == [(size, 8)]
        torch.testing.assert_close(
            losses['loss_contrastive'],
            alone['loss_contrastive'].detach(),
            rtol=0,
            atol=1e-10,
        )
    partial = sum(losses['loss_partial'] for losses, _ in ranks) / 2
    torch.testing.assert_close(
        partial, alone['loss_partial'].detach(), rtol=0, atol=1e-10
    )
    for name, parameter in model.named_parameters():
        for _, gradients in ranks:
            assert parameter.grad.abs().sum() > 0, name
            torch.testing.assert_close(
                gradients[name], parameter.grad, rtol=1e-8, atol=1e-10
            )


def guarded_steps(model, rows, folder):
    """Steps of which all but the second have a NaN in the last frames.

    Returns:
        What is said at the end, and the weights before, after the first and
        after the second step.
    """
    name = f'guarded_{dist.is_initialized()}'
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    runner = SimpleNamespace(
        model=model,
        optim_wrapper=OptimWrapper(optimizer=optimizer),
        work_dir=str(folder / name),
        iter=0,
        epoch=0,
        logger=logging.getLogger(name),
        message_hub=MessageHub.get_instance(name),
    )
    hook = NonFiniteHook(on_nonfinite='skip', max_skips=2)
    hook.before_train(runner)
    weights = [[each.detach().clone() for each in model.parameters()]]
    for is_bad in (True, False, True, True):
        inputs = inputs_of(rows)
        if is_bad and 7 in rows:
            inputs['frames'][-1] = float('nan')
        hook.before_train_iter(runner, runner.iter, dict(data_samples=[]))
        with runner.optim_wrapper.optim_context(model):
            losses = model(inputs, mode='loss')
        try:
            runner.optim_wrapper.update_params(total_loss(losses))
        except NonFiniteError as error:
            return str(error), weights
        weights.append([each.detach().clone() for each in model.parameters()])
        runner.iter += 1
    raise AssertionError('the second bad step in a row did not stop the run')


def test_guarded_steps_of_two_processes_are_those_of_one(
    tiny_clip, two_ranks, tmp_path
):
    _, processes = two_ranks
    model = model_of(str(tiny_clip), CHUNKS[1])
    said, alone = guarded_steps(model, list(range(8)), tmp_path)
    assert 'loss_contrastive is nan on process 0' in said
    for said, (before, skipped, stepped, last) in processes:
        assert 'iteration 4' in said
        assert 'the 2th in a row' in said
        assert 'loss_partial is nan on process 1' in said
        assert 'loss_partial is nan on process 0' not in said
        for one, two in ((before, skipped), (stepped, last)):
            assert all(map(torch.equal, one, two))
        for weight, old, expected in zip(
            stepped, before, alone[2], strict=True
        ):
            assert not torch.equal(weight, old)
            torch.testing.assert_close(weight, expected)


def gather_ragged():
    rank = dist.get_rank()
    sizes = (2, 0, 3)
    first = sum(sizes[:rank])
    local = torch.arange(first, first + sizes[rank])
    whole = gather_rows(local)
    flags = gather_rows(local % 2 == 0)
    x = local.double().requires_grad_()
    (gather_rows(x) * torch.arange(5.0).double()).sum().backward()
    width = TokenFeatures(
        local.float()[:, None, None].expand(-1, 2, 3),
        local[:, None].expand(-1, 2) > 0,
        local.float()[:, None].expand(-1, 3),
        local.float()[:, None].expand(-1, 2) * 2,
    )
    return whole, flags, x.grad, tuple(gather_features(width))


def test_ragged_gather_keeps_order_types_and_gradients(in_processes):
    results = in_processes(3, gather_ragged)
    five = torch.arange(5)
    for result, owned in zip(results, ([0, 1], [], [2, 3, 4]), strict=True):
        whole, flags, grad, features = result
        assert torch.equal(whole, five)
        assert torch.equal(flags, five % 2 == 0)
        assert grad.tolist() == [3.0 * i for i in owned]
        tokens, mask, pooled, weight = features
        assert torch.equal(tokens[:, 1, 2], five.float())
        assert torch.equal(mask[:, 1], five > 0)
        assert torch.equal(pooled[:, 0], five.float())
        assert torch.equal(weight[:, 1], five * 2.0)


def test_one_process_gathers_nothing():
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows
