"""Several processes give the loss and the gradients of one."""

import os
import socket
from itertools import product

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from mmtvr.distributed import gather_features, gather_rows
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


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def start(rank, port, world):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=world)


def train_steps(rank, port, clip, folder):
    start(rank, port, 2)
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
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def two_ranks(tiny_clip, tmp_path_factory):
    """Folder with losses and gradients of both ranks for all SIZES."""
    folder = tmp_path_factory.mktemp('ranks')
    mp.spawn(train_steps, (free_port(), str(tiny_clip), str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize('cached', CHUNKS)
@pytest.mark.parametrize('sizes', SIZES)
def test_loss_and_gradients_equal_those_of_one_process(
    sizes, cached, tiny_clip, two_ranks
):
    model = model_of(str(tiny_clip))
    alone = model(inputs_of(list(range(8))), mode='loss')
    total_loss(alone).backward()
    ranks = [
        torch.load(two_ranks / f'{size}-{rank}-{bool(cached)}.pt')
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


def gather_ragged(rank, port, folder):
    start(rank, port, 3)
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
    result = (whole, flags, x.grad, tuple(gather_features(width)))
    torch.save(result, f'{folder}/{rank}.pt')
    dist.destroy_process_group()


def test_ragged_gather_keeps_order_types_and_gradients(tmp_path):
    mp.spawn(gather_ragged, (free_port(), str(tmp_path)), nprocs=3)
    five = torch.arange(5)
    for rank, owned in enumerate(([0, 1], [], [2, 3, 4])):
        whole, flags, grad, features = torch.load(tmp_path / f'{rank}.pt')
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
