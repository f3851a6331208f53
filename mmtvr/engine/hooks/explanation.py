"""Plot explanations of fixed samples while a model learns."""

from collections.abc import Sequence

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmtvr.engine.loops import unwrap_model
from mmtvr.errors import SetupError
from mmtvr.explanation import explain_sample, find_piece_names
from mmtvr.registry import HOOKS


@HOOKS.register_module()
class ExplanationHook(Hook):
    """Plot why fixed validation samples have their score, as training goes.

    After a validation, the first caption of each sample and its video are
    explained with the weights of that moment, and the plot goes to the
    visualiser: into ``vis_data/vis_image`` with ``LocalVisBackend``, to the
    images of TensorBoard with ``TensorboardVisBackend``. Off unless it is
    among ``custom_hooks``:

    .. code:: python

        custom_hooks = [dict(type='mmtvr.ExplanationHook', samples=(0, 5))]
        visualizer = dict(
            type='Visualizer',
            vis_backends=[
                dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend'),
            ])

    Args:
        samples: Positions in the validation set.
        interval: Every how many validations to plot.
        dpi: Dots per inch; a plot is 10 inches wide.
    """

    priority = 'LOW'

    def __init__(
        self, samples: Sequence[int] = (0,), interval: int = 1, dpi: int = 80
    ) -> None:
        self.samples = tuple(samples)
        self.interval = interval
        self.dpi = dpi
        self.validations = 0
        self.loaded: dict[int, dict] = {}

    @master_only
    def before_train(self, runner: Runner) -> None:
        """Read the samples, so that a wrong position shows at once.

        Raises:
            SetupError: There is no validation set, it is shorter, or its
                pipeline does not name words.
        """
        if runner.val_loop is None:
            raise SetupError(
                'ExplanationHook plots validation samples, but the config '
                'has no val_dataloader: set one, or remove the hook'
            )
        dataset = runner.val_loop.dataloader.dataset
        wrong = [each for each in self.samples if each >= len(dataset)]
        if wrong:
            raise SetupError(
                f'ExplanationHook(samples={self.samples}): the validation '
                f'set has {len(dataset)} samples, counted from 0'
            )
        self.name_pieces = find_piece_names(dataset.pipeline)
        self.loaded = {each: dataset[each] for each in self.samples}

    @master_only
    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Plot the samples."""
        self.validations += 1
        if not self.loaded or self.validations % self.interval:
            return
        # Imported late: runs without plots need no matplotlib.
        from mmtvr.visualization.explanation import draw_explanation
        from mmtvr.visualization.figures import to_array

        model = unwrap_model(runner.model)
        for position, sample in self.loaded.items():
            found = explain_sample(model, sample, self.name_pieces)
            plot = to_array(draw_explanation(*found), self.dpi)
            runner.visualizer.add_image(
                f'explanation_{position}', plot, runner.iter
            )
