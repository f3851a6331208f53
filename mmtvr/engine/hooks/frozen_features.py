"""Check that stored features are those of the towers in use."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.datasets.frozen_features import FeatureFile, refuse_difference
from mmtvr.engine.extraction import describe_normalization
from mmtvr.engine.loops import unwrap_model
from mmtvr.models.frozen import describe_encoder
from mmtvr.registry import HOOKS


@HOOKS.register_module()
class FrozenFeaturesHook(Hook):
    """Refuse features that other towers made.

    Before training, validation or test, when checkpoints have been loaded,
    the weights of the towers are hashed and compared with what the files of
    features say. ``frozen_features`` of a config adds this hook.

    Raises:
        SetupError: They are of another encoder; names both.
    """

    def __init__(self) -> None:
        self._checked: set[str] = set()
        self._now: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the training set."""
        self._check(runner, runner.train_loop)

    def before_val(self, runner: Runner) -> None:
        """Check the validation set."""
        self._check(runner, runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Check the test set."""
        self._check(runner, runner.test_loop)

    def _check(self, runner: Runner, loop: Any) -> None:
        features = getattr(loop.dataloader.dataset, 'features', None)
        if not isinstance(features, FeatureFile):
            return
        if str(features.path) in self._checked:
            return
        if self._now is None:
            model, config = unwrap_model(runner.model), runner.cfg.model
            self._now = dict(normalize=describe_normalization(model))
            for side in ('text_encoder', 'frame_encoder'):
                described = describe_encoder(
                    config[side], getattr(model, side)
                )
                self._now[side] = described
        refuse_difference(features.path, features.identity, self._now)
        self._checked.add(str(features.path))
