"""Frozen towers: the two halves of an encoder, and what identifies one.

An encoder may be cut in two: ``extract(*inputs) -> TokenFeatures`` is the
pretrained tower, whose output can be stored, and ``project(raw) ->
TokenFeatures`` is what stands behind it and is trained. ``projections`` names
the submodules that ``project`` uses. An encoder without these methods is a
tower as a whole.
"""

from collections.abc import Mapping
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from mmtvr.ops import to_unit
from mmtvr.structures import TokenFeatures

#: Options of encoders that change which weights learn, or how fast.
TRAINING_OPTIONS = (
    *('frozen_layers', 'gradient_checkpointing', 'attn_implementation'),
    *('init_cfg', 'lora', 'frozen'),
    # Of the projection.
    *('embed_dims', 'projection'),
)
#: Options that say where weights are, which the weights themselves tell.
SOURCES = ('clip', 'encoder', 'model', 'name', 'pretrained')


@torch.no_grad()
def extract(encoder: nn.Module, *inputs: Tensor | None) -> TokenFeatures:
    """Run the frozen half of an encoder.

    Returns:
        What ``extract`` of the encoder returns, else its features. These raw
        features need not be unit vectors; ``pooled`` may have a further axis,
        or width 0 where ``project`` makes it from the tokens.
    """
    return getattr(encoder, 'extract', encoder)(*inputs)


def project(encoder: nn.Module, raw: TokenFeatures) -> TokenFeatures:
    """Run the half of an encoder that is trained on raw features."""
    if hasattr(encoder, 'project'):
        return encoder.project(raw)
    # Rounding to half precision leaves no unit vectors.
    return raw._replace(tokens=to_unit(raw.tokens), pooled=to_unit(raw.pooled))


def freeze_tower(encoder: nn.Module) -> None:
    """Leave only the projections of an encoder trainable."""
    encoder.requires_grad_(False)
    for name in _projections(encoder):
        encoder.get_submodule(name).requires_grad_(True)


def set_training(encoder: nn.Module, mode: bool) -> None:
    """Put a frozen tower in evaluation mode, its projections in ``mode``."""
    encoder.eval()
    for name in _projections(encoder):
        encoder.get_submodule(name).train(mode)


def describe_encoder(
    config: Mapping[str, Any], encoder: nn.Module
) -> dict[str, Any]:
    """Say what the raw features of an encoder depend on.

    Args:
        config: Its config.
        encoder: The encoder with its weights.

    Returns:
        JSON: the config as far as it changes features, where the weights
        came from (``source``, which two equal towers may differ in), and a
        hash of the weights of the tower.
    """
    options = {
        key: value
        for key, value in config.items()
        if key not in TRAINING_OPTIONS
    }
    source = {
        key: options.pop(key)
        for key in SOURCES
        if isinstance(options.get(key), str)
    }
    return dict(options=options, source=source, weights=hash_tower(encoder))


def hash_tower(encoder: nn.Module, without: str | None = None) -> str:
    """Hash names and values of all weights but those of the projections.

    Args:
        encoder: The encoder.
        without: Leave out names that contain this, too.
    """
    skipped = tuple(f'{name}.' for name in _projections(encoder))
    digest = xxhash.xxh3_128()
    for name, tensor in sorted(encoder.state_dict().items()):
        if name.startswith(skipped) or (without and without in name):
            continue
        about = f'{name} {tuple(tensor.shape)} {tensor.dtype};'
        digest.update(about.encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _projections(encoder: nn.Module) -> tuple[str, ...]:
    return tuple(getattr(encoder, 'projections', ()))
