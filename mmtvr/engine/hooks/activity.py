"""Hooks that report what a rank does and end loading workers."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmtvr.distributed.exit_with_parent import ExitWithParent
from mmtvr.distributed.phase import LONG, phase
from mmtvr.registry import HOOKS


@HOOKS.register_module()
class ActivityHook(Hook):
    """Note every step of training and evaluation.

    A process that makes no progress within the time-out of
    ``env_cfg.dist_cfg`` is stopped with the others, and the note is what the
    message says it was doing. Added to every run of several processes.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Note the start."""
        phase.enter('at the start of training', LONG)

    def before_train_epoch(self, runner: Runner) -> None:
        """Note the wait for the first batch."""
        phase.enter(f'loading the first batch of epoch {runner.epoch + 1}')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Note a training step."""
        number = runner.iter + 1
        phase.enter(
            f'in the training step of iteration {number}', step=2 * number
        )

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Note the wait for the next batch."""
        number = runner.iter + 1
        phase.enter(
            f'behind iteration {number} (hooks, then loading the next batch)',
            step=2 * number + 1,
        )

    def after_train_epoch(self, runner: Runner) -> None:
        """Note the end of an epoch, where checkpoints are written."""
        phase.enter(f'at the end of epoch {runner.epoch + 1}', LONG)

    def before_val_epoch(self, runner: Runner) -> None:
        """Note the wait for the first batch of a validation."""
        phase.enter('loading the first batch of a validation')

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Note the wait for the next batch of a validation."""
        phase.enter(f'behind batch {batch_idx + 1} of a validation')

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Note the end of a validation, where checkpoints are written."""
        phase.enter('at the end of a validation', LONG)

    def before_test_epoch(self, runner: Runner) -> None:
        """Note the wait for the first batch of a test."""
        phase.enter('loading the first batch of a test')

    def after_test_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Note the wait for the next batch of a test."""
        phase.enter(f'behind batch {batch_idx + 1} of a test')

    def after_train(self, runner: Runner) -> None:
        """Note the end."""
        phase.enter('at the end of training', LONG)


@HOOKS.register_module()
class LoadingWorkersHook(Hook):
    """Let no loading worker outlive a killed training, validation or test.

    Each worker starts as before and then watches its parent, see
    ``mmtvr.distributed.exit_with_parent``. Added to every run.
    """

    def before_train(self, runner: Runner) -> None:
        """Reach the training loader before it starts its workers."""
        follow(runner.train_dataloader)

    def before_val(self, runner: Runner) -> None:
        """Reach the validation loader."""
        follow(runner.val_dataloader)

    def before_test(self, runner: Runner) -> None:
        """Reach the test loader."""
        follow(runner.test_dataloader)


def follow(loader: DataLoader) -> None:
    """Let the workers of a loader end with this process.

    Args:
        loader: Changed in place; its workers must not have been started.
    """
    if not isinstance(loader.worker_init_fn, ExitWithParent):
        loader.worker_init_fn = ExitWithParent(loader.worker_init_fn)
