"""Preflight of a run: what is missing shows before the first iteration."""

import logging
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler, pseudo_collate
from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import MMLogger, print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmtvr.checkpoints import download, fit_weights, read_checkpoint
from mmtvr.config.rank_consistency import check_rank_consistency
from mmtvr.errors import SetupError
from mmtvr.randomness import same_random_state

# How what mmengine logs of its settings begins.
SETTINGS = ('System environment:', 'Config:', 'Hooks will be executed')
# And what it logs of each run alike.
ALIKE = (
    *('Distributed training is not used', '"FileClient"', '"HardDiskBackend"'),
    *('torch.backends.cudnn.benchmark is', 'Checkpoints will be saved to'),
)


class BriefRunner(Runner):
    """mmengine's runner, whose settings go to the log file alone.

    It logs the environment, the whole config and all hooks, 300 lines before
    the first of the run itself, and what is the same for all runs.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger and keep long settings off the console.

        A terminal also gets shorter lines: its columns are few.
        """
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.addFilter(_is_for_console)
                if handler.stream.isatty():
                    handler.setFormatter(ShortFormatter(datefmt='%H:%M:%S'))
        return logger


class ShortFormatter(logging.Formatter):
    """The time, the level of what is no mere information, and the message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Write one line."""
        time = self.formatTime(record, self.datefmt)
        if record.levelno == logging.INFO:
            return f'{time} {record.message}'
        return f'{time} {record.levelname}: {record.message}'


def _is_for_console(record: logging.LogRecord) -> bool:
    text = record.getMessage().lstrip('\n-')
    return not text.startswith((*SETTINGS, *ALIKE))


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
        runner = RUNNERS.build(cfg)
    else:
        runner = BriefRunner.from_cfg(cfg)
    if cfg.get('load_from') and not cfg.get('resume'):
        runner.register_hook(FitWeights())
    return runner


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
    size, processes = len(loader.dataset), len(counts)
    batch_size, drop_last = _find_batches(loader)
    setting = (
        f'{size} samples, {processes} processes, '
        f'batch_size={batch_size}, drop_last={drop_last}'
    )
    if min(counts) == max(counts) > 0:
        smallest = batch_size or 0
        if not drop_last and size and smallest:
            smallest = min(smallest, -(-size // processes))
        if smallest * processes == 1:
            print_log(
                f'a batch has one sample ({setting}): a contrastive loss has '
                'nothing to compare it with, is exactly 0 and trains nothing. '
                'Use a larger train_dataloader.batch_size',
                'current',
                logging.WARNING,
            )
        return
    if min(counts) == 0:
        raise SetupError(
            f'process {counts.index(0)} has no training batch ({setting}): '
            'use a smaller train_dataloader.batch_size, '
            + (
                'fewer processes, or drop_last=False'
                if drop_last
                else 'or fewer processes'
            )
        )
    raise SetupError(
        f'processes have different numbers of training batches, {counts} '
        f'({setting}): use a sampler that gives all of them as many, such as '
        "dict(type='DefaultSampler', round_up=True)"
    )


def _find_batches(loader: DataLoader) -> tuple[int | None, bool]:
    """Size of the batches and whether a short last one is left out.

    A loader with a batch sampler says None and False of itself.
    """
    sampler: Any = loader.batch_sampler
    inner = getattr(sampler, 'batches', sampler)
    size = getattr(inner, 'batch_size', None)
    if size is None:
        size = getattr(sampler, 'batch_size', loader.batch_size)
    return size, getattr(inner, 'drop_last', loader.drop_last)


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


def check_weights(model: nn.Module, path: str, whole: bool = True) -> None:
    """Check how the weights of a checkpoint fit the model, and log it.

    mmengine loads what fits and only warns about the rest.

    Args:
        model: The model, not wrapped.
        path: The checkpoint.
        whole: Whether it must hold every weight of the model, as to test it;
            for the start of a training some of an encoder are enough.

    Raises:
        SetupError: It cannot be read, weights are missing or of another
            shape, or none of an encoder fits.
    """
    if '://' in path:
        if not path.startswith(('http://', 'https://')):
            # mmengine's loader of it is refused when the run loads.
            return
        file = download(path)
    else:
        file = Path(path)
    found = read_checkpoint(file)['state_dict']
    fit = fit_weights(found, model.state_dict())
    if whole and fit.missing:
        raise SetupError(
            f'{path} does not fit the model of the config: '
            f'{len(fit.missing)} weights are missing or of another shape, the '
            f'first is {fit.missing[0]}'
        )
    if not fit.weights or not fit.has_encoder:
        theirs, ours = (next(iter(n), 'none') for n in (found, fit.missing))
        part = 'no weight of an encoder' if fit.weights else 'no weight'
        raise SetupError(
            f'{part} of {path} fits the model of the config, which would '
            f'train as without it: its first is named {theirs!r}, the model '
            f'expects names such as {ours!r}, and the same shapes'
        )
    if fit.missing or fit.unused or fit.mapping:
        print_log(fit.describe(path), 'current', logging.WARNING)


class FitWeights(Hook):
    """Name the weights of ``load_from`` as the model does, before loading."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """See :func:`mmtvr.checkpoints.fit_weights`."""
        if not runner._resume:
            model = runner.model
            model = model.module if is_model_wrapper(model) else model
            fit = fit_weights(checkpoint['state_dict'], model.state_dict())
            checkpoint['state_dict'] = fit.weights
