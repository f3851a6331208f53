"""Epochs that go on where a checkpoint was written, also in their middle."""

import logging
from typing import Any

from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmtvr.engine.loops import bare_model
from mmtvr.randomness import place_seed, seed_generators
from mmtvr.registry import LOOPS

#: In the message hub: the number of epochs that no validation is due for.
VALIDATED = 'mmtvr_validated'


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """Epoch-based training that a restart does not change.

    Iterations, hooks and validations are those of mmengine's loop. Resumed
    from a checkpoint of :class:`AtomicCheckpointHook` it goes on with the
    batch that comes next, without loading those before, and first validates
    the epoch whose validation was cut off. On a CPU, weights and metrics are
    then those of a run that was never stopped, bit for bit.

    The samples of the loader are wrapped in :class:`SeededDataset` and its
    batches in :class:`ResumableBatchSampler`; before each step the
    generators of this process are set from the seed of the run and the number
    of the iteration. So what a step draws depends on its number alone.

    Args:
        runner (Runner): The runner.
        dataloader (dict | DataLoader): Config of the training loader. One
            that is built already stays as it is, and an epoch that was cut
            off in it begins anew.
        **kwargs: ``max_epochs``, ``val_begin``, ``val_interval`` and
            ``dynamic_intervals`` of mmengine's ``EpochBasedTrainLoop``.

    Example:
        >>> train_cfg = dict(type='mmtvr.ResumableTrainLoop', max_epochs=5)
    """

    def __init__(
        self, runner: Runner, dataloader: dict | DataLoader, **kwargs: Any
    ) -> None:
        if isinstance(dataloader, dict):
            dataloader = in_resumable_batches(dataloader)
        super().__init__(runner, dataloader, **kwargs)
        sampler = self.dataloader.batch_sampler
        self.batches = sampler if hasattr(sampler, 'set_place') else None
        self._set_seed(runner.seed)
        self._done = 0

    def run(self) -> nn.Module:
        """Train to the end.

        Returns:
            The model.
        """
        self.runner.call_hook('before_train')
        if VALIDATED in self.runner.message_hub.runtime_info:
            self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Train one epoch, or what is left of it."""
        self.runner.message_hub.update_info(VALIDATED, self._epoch)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if self.batches is not None:
            self.batches.set_place(self._epoch, self._done)
        for idx, data_batch in enumerate(self.dataloader, self._done):
            self.run_iter(idx, data_batch)
        self._done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch.

        Args:
            idx: Number of the batch in the epoch, from 0.
            data_batch: What the loader yields.
        """
        self._done = idx + 1
        seed_generators(place_seed(self._seed, self._iter))
        super().run_iter(idx, data_batch)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold beside weights, counts and schedules.

        With several processes this is a collective operation.

        Returns:
            Plain numbers and tensors, for :meth:`load_state_dict`.
        """
        return dict(
            seed=self._seed,
            sampler_seed=getattr(self._sampler(), 'seed', None),
            batches_done=self._done,
            layout=self._layout(),
            gradients=waiting_gradients(bare_model(self.runner.model)),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            state: From :meth:`state_dict`.
        """
        self._set_seed(state['seed'])
        if state['sampler_seed'] is not None:
            self._sampler().seed = state['sampler_seed']
        same = self.batches is not None and state['layout'] == self._layout()
        if state['batches_done'] and not same:
            print_log(
                'The checkpoint was written in the middle of an epoch of '
                f'{state["layout"]}, now an epoch is {self._layout()}: it '
                'begins anew.',
                'current',
                logging.WARNING,
            )
            return
        self._done = state['batches_done']
        parameters = dict(bare_model(self.runner.model).named_parameters())
        for name, gradient in state['gradients'].items():
            parameters[name].grad = gradient.to(parameters[name].device)

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        if self.batches is not None:
            self.batches.seed = seed

    def _sampler(self) -> Any:
        owner = self.dataloader if self.batches is None else self.batches
        return owner.sampler

    def _layout(self) -> dict[str, int]:
        """What makes the batches of an epoch, in the order of the seed."""
        sizes = self.batches or self.dataloader
        return dict(
            samples=len(self.dataloader.dataset),
            batches=len(sizes),
            batch_size=sizes.batch_size,
            processes=get_world_size(),
        )

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        loop, hub = self.runner.val_loop, self.runner.message_hub
        due = self._epoch >= max(self.val_begin, 1) and (
            self._epoch % self.val_interval == 0
            or self._epoch == self._max_epochs
        )
        if loop and due and hub.get_info(VALIDATED, 0) < self._epoch:
            # Checkpoints written during the validation say that it was.
            hub.update_info(VALIDATED, self._epoch)
            seed_generators(place_seed(self._seed, self._epoch))
            loop.run()


def in_resumable_batches(dataloader: dict) -> dict:
    """Seed the samples of a loader, and let it begin in mid-epoch.

    Args:
        dataloader: Config of a loader with a map-style dataset.

    Returns:
        A config of a loader of the same batches.
    """
    cfg = dict(dataloader)
    cfg['dataset'] = dict(type='mmtvr.SeededDataset', dataset=cfg['dataset'])
    cfg['batch_sampler'] = dict(
        type='mmtvr.ResumableBatchSampler',
        drop_last=cfg.pop('drop_last', False),
        batch_sampler=cfg.pop('batch_sampler', None),
    )
    return cfg


def waiting_gradients(model: nn.Module) -> dict[str, Tensor]:
    """Gradients that accumulate for a step that is still to come.

    Args:
        model: The model, not wrapped.

    Returns:
        Gradients by the names of their parameters, none right after a step.
        The mean over all processes, which take their mean at the step anyway.
    """
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    for gradient in gradients.values():
        all_reduce(gradient, 'mean')
    return {name: gradient.cpu() for name, gradient in gradients.items()}
