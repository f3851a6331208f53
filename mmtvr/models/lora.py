"""LoRA adapters (arXiv:2106.09685) in the towers of a retriever, by peft."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmtvr.errors import SetupError, import_extra
from mmtvr.models.frozen import freeze_tower

#: Query and value of attention, as the paper adapts, by the names that the
#: towers of transformers and timm give them.
ATTENTION = ('q_proj', 'v_proj', 'query', 'value', 'q_lin', 'v_lin', 'qkv')
#: In the names of weights that an adapter adds.
ADAPTER = '.lora_'
BASE = '.base_layer.'
SHOWN = 8


def add_lora(
    encoder: nn.Module,
    side: str,
    target_modules: list[str] | str | None = None,
    **options: Any,
) -> None:
    """Freeze a tower and add adapters to it.

    The adapters and the projections of the encoder, see
    :mod:`mmtvr.models.frozen`, are all that remains trainable. A checkpoint of
    the same model without adapters loads as well.

    Args:
        encoder: The encoder, changed in place.
        side: Its name in the model, for messages.
        target_modules: Names of the layers, see ``peft.LoraConfig``; None for
            query and value of all attention layers.
        **options: Other arguments of ``peft.LoraConfig``, such as ``r``,
            ``lora_alpha`` and ``lora_dropout``.

    Raises:
        SetupError: peft is not installed, refuses an option, or finds no
            layer.
    """
    peft = import_extra('peft', 'lora', f'lora of model.{side}')
    if target_modules is None:
        target_modules = find_attention(encoder, side)
    try:
        config = peft.LoraConfig(target_modules=target_modules, **options)
        peft.inject_adapter_in_model(config, encoder)
    except (TypeError, ValueError) as error:
        raise SetupError(f'model.lora.{side}: {error}') from error
    freeze_tower(encoder)
    for name, parameter in encoder.named_parameters():
        if ADAPTER in name:
            parameter.requires_grad_(True)
    encoder.register_load_state_dict_pre_hook(_rename)


def find_attention(encoder: nn.Module, side: str) -> list[str]:
    """Find the names of query and value layers of a tower.

    Raises:
        SetupError: There are none; names the linear layers that there are.
    """
    linear = {
        name.rpartition('.')[2]
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
    }
    found = sorted(linear & set(ATTENTION))
    if not found:
        shown = ', '.join(sorted(linear)[:SHOWN]) or 'none'
        raise SetupError(
            f'model.lora.{side} finds no attention layers in '
            f'{type(encoder).__name__} (looked for {", ".join(ATTENTION)}); '
            f'its linear layers are: {shown}. Name some in '
            f'model.lora.{side}.target_modules'
        )
    return found


def merge_lora(model: nn.Module) -> dict[str, Tensor]:
    """Weights of a model with the adapters added to what they adapt.

    Returns:
        A state dict of the same model without ``lora``.
    """
    merged = {
        name.replace(BASE, '.'): value.clone()
        for name, value in model.state_dict().items()
        if ADAPTER not in name
    }
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module, 'get_delta_weight'):
                for adapter in module.active_adapters:
                    delta = module.get_delta_weight(adapter)
                    merged[f'{name}.weight'] += delta
    return merged


def take_adapters(model: nn.Module) -> dict[str, Tensor]:
    """All weights but those of the frozen towers: adapters, heads, rest."""
    frozen = {
        name
        for name, parameter in model.named_parameters()
        if name.startswith(('text_encoder.', 'frame_encoder.'))
        and not parameter.requires_grad
    }
    return {
        name: value
        for name, value in model.state_dict().items()
        if name not in frozen
    }


def has_lora(config: Mapping[str, Any]) -> bool:
    """Whether a config of a model adds adapters."""
    return any((config.get('lora') or {}).values())


def _rename(
    module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """Let weights of a tower without adapters load."""
    for name in module.state_dict():
        plain = prefix + name.replace(BASE, '.')
        if BASE in name and plain in state_dict:
            state_dict[prefix + name] = state_dict.pop(plain)
