"""A model with the weights that it encodes with."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from mmtvr.checkpoints import read_checkpoint
from mmtvr.errors import SetupError

PARTIAL = 'partial_loss.'
ONLY_TRAINING = ('contrastive_loss.', 'logit_scale.', PARTIAL)
PRETRAINED = ('frame_encoder.clip.', 'text_encoder.clip.', *ONLY_TRAINING)


def load_model(cfg: Config, checkpoint: Path | None) -> nn.Module:
    """Build a model and load its weights.

    Parts that only train need none; TPM-CL without its weights is left out,
    as what an untrained network takes for important explains nothing.

    Args:
        cfg: The whole config.
        checkpoint: Weights; None for the pretrained encoders as they are.

    Returns:
        The model.

    Raises:
        SetupError: The checkpoint is of another model, or there is none and
            the model has parts that only training makes useful.
    """
    model = MODELS.build(cfg.model)
    untrained = [name for name, _ in model.named_parameters()]
    if checkpoint is not None:
        untrained = _load_weights(model, checkpoint)
    if any(name.startswith(PARTIAL) for name in untrained):
        model.partial_loss = None
    for name in untrained if checkpoint is None else ():
        if not name.startswith(PRETRAINED):
            raise SetupError(
                f'{name} of the model has no weights before it is trained: '
                'give a checkpoint, or a config of pretrained encoders and '
                'a head without parameters, such as configs/clip4clip_*.py'
            )
    return model


def _load_weights(model: nn.Module, checkpoint: Path) -> list[str]:
    """Load a checkpoint.

    Returns:
        Names of what it lacks, none of which encodes.
    """
    weights = {
        name.removeprefix('module.'): value
        for name, value in read_checkpoint(checkpoint)['state_dict'].items()
    }
    try:
        missing, _ = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SetupError(f'{checkpoint} does not fit: {error}') from error
    needed = [n for n in missing if not n.startswith(ONLY_TRAINING)]
    if needed:
        raise SetupError(
            f'{checkpoint} lacks {len(needed)} weights of the model of the '
            f'config, the first is {needed[0]}: it is of another model'
        )
    return missing
