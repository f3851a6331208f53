"""Preflight of a run: what is missing shows before the first iteration."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler, pseudo_collate
from mmengine.dist import all_gather_object, get_world_size
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtvr.checkpoints import read_checkpoint
from mmtvr.config.rank_consistency import check_rank_consistency
from mmtvr.errors import SetupError
from mmtvr.randomness import same_random_state


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config asks for, with its model.

    With ``env_cfg.tf32=True`` matrix products of float32 may use TF32, whose
    mantissa has 10 bits, on GPUs that have it; without the key they stay as
    PyTorch has them.

    Raises:
        SetupError: A component lacks its weights, files or package, or the
            ranks start from different things.
    """
    if cfg.get('env_cfg', {}).get('tf32', False):
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    if get_world_size() > 1:
        check_rank_consistency(cfg)
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)


def check_runner(runner: Runner, *stages: str) -> None:
    """Build the loaders of a run and send one sample through the model.

    Random states are left as they were, so the run is the same as without.

    Args:
        runner: A runner that has not started.
        *stages: Out of ``train``, ``val`` and ``test``.

    Raises:
        SetupError: A dataset lacks its files, a transform its package, or a
            sample does not fit the model.
    """
    model = runner.model
    model = model.module if is_model_wrapper(model) else model
    for stage in stages:
        loop = getattr(runner, f'{stage}_loop')
        if loop is not None:
            if stage == 'train':
                check_batches(loop.dataloader)
            try_sample(model, loop.dataloader.dataset)


def check_batches(loader: DataLoader) -> None:
    """Check that every process has batches to train on, and as many.

    Raises:
        SetupError: There is no batch, or processes have different numbers of
            them, so that one would wait forever.
    """
    if isinstance(loader.sampler, InfiniteSampler):
        return
    counts = all_gather_object(len(loader))
    if min(counts) == max(counts) > 0:
        return
    size, processes = len(loader.dataset), len(counts)
    setting = (
        f'{size} samples, {processes} processes, '
        f'batch_size={loader.batch_size}, drop_last={loader.drop_last}'
    )
    if min(counts) == 0:
        raise SetupError(
            f'process {counts.index(0)} has no training batch ({setting}): '
            'use a smaller train_dataloader.batch_size, fewer processes, or '
            'drop_last=False'
        )
    raise SetupError(
        f'processes have different numbers of training batches, {counts} '
        f'({setting}): use a sampler that gives all of them as many, such as '
        "dict(type='DefaultSampler', round_up=True)"
    )


@torch.no_grad()
def try_sample(model: nn.Module, dataset: Dataset) -> None:
    """Send the first sample through the model, leaving no trace.

    Any other error than :class:`SetupError` is left to the run itself, which
    meets it at once and with a traceback that belongs to it.

    Args:
        model: The model, not wrapped.
        dataset: Its dataset.

    Raises:
        SetupError: The sample does not fit the model.
    """
    was_training = model.training
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=gpus), same_random_state():
        try:
            model.eval()
            batch = pseudo_collate([dataset[0]])
            batch = model.data_preprocessor(batch, False)
            features = model(**batch, mode='tensor')
            if hasattr(model, 'similarity'):
                model.similarity(*features)
        except SetupError:
            raise
        except Exception:
            return
        finally:
            model.train(was_training)


def check_file(path: str, what: str) -> None:
    """Check that a file the user named exists; URLs are left to mmengine.

    Args:
        path: A local path or a URL.
        what: What it is, for the message.

    Raises:
        SetupError: A local path leads to no file.
    """
    if '://' not in path and not Path(path).exists():
        raise SetupError(
            f'the {what} {path} does not exist (looked from {Path.cwd()})'
        )


def check_weights(model: nn.Module, path: str) -> None:
    """Check that a checkpoint holds every weight of the model.

    mmengine loads what fits and only warns about the rest.

    Args:
        model: The model, not wrapped.
        path: The checkpoint; a URL is not checked.

    Raises:
        SetupError: It cannot be read, or weights are missing or of another
            shape.
    """
    if '://' in path:
        return
    found = read_checkpoint(path)['state_dict']
    shapes = {
        name.removeprefix('module.'): getattr(tensor, 'shape', None)
        for name, tensor in found.items()
    }
    misfit = [
        name
        for name, tensor in model.state_dict().items()
        if shapes.get(name) != tensor.shape
    ]
    if misfit:
        raise SetupError(
            f'{path} does not fit the model of the config: {len(misfit)} '
            f'weights are missing or of another shape, the first is '
            f'{misfit[0]}'
        )
