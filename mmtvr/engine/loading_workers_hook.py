"""Let loading workers end with their training."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmtvr.processes import EndWithParent
from mmtvr.registry import HOOKS


@HOOKS.register_module()
class LoadingWorkersHook(Hook):
    """Let no loading worker outlive a killed training, validation or test.

    Each worker starts as before and then watches its parent, see
    :class:`mmtvr.processes.EndWithParent`. Added to every run.
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
    if not isinstance(loader.worker_init_fn, EndWithParent):
        loader.worker_init_fn = EndWithParent(loader.worker_init_fn)
