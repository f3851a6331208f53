"""What the two CLIP towers share: freezing and checkpointing of layers."""

from torch import nn
from transformers import PreTrainedModel

from mmtvr.errors import SetupError


def freeze_lower_layers(
    embeddings: list[nn.Module], layers: nn.ModuleList, count: int
) -> None:
    """Freeze the embeddings and the first layers of a tower.

    Args:
        embeddings: Everything in front of the first layer.
        layers: The transformer layers, lowest first.
        count: How many layers to freeze; 0 freezes nothing at all.

    Raises:
        SetupError: If there are not that many layers.
    """
    if not 0 <= count <= len(layers):
        raise SetupError(
            f'frozen_layers={count}, but this CLIP tower has {len(layers)} '
            'layers; give a number from 0 (nothing frozen) to that'
        )
    if count:
        for module in (*embeddings, *layers[:count]):
            module.requires_grad_(False)


def checkpoint_layers(model: PreTrainedModel) -> None:
    """Recompute activations of the layers in backward to save memory."""
    # The reentrant form would need an input that requires a gradient.
    model.gradient_checkpointing_enable({'use_reentrant': False})
