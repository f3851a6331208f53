"""Adapters of a checkpoint, alone or merged: ``tools/lora.py``."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmtvr.cli.command import TRUST_HELP, HelpFormatter, run_command
from mmtvr.config import ConfigOptions, load_config
from mmtvr.errors import SetupError
from mmtvr.files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor, nn

SIDES = ('text_encoder', 'frame_encoder')
EXAMPLES = """
examples:
  mmtvr lora CONFIG CHECKPOINT --adapters adapters.safetensors
  mmtvr lora CONFIG adapters.safetensors --merged merged.pth
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(
        lambda: write_adapters(parse_args(argv)), 'nothing was written'
    )


def write_adapters(options: argparse.Namespace) -> None:
    """Write adapters alone or merged weights."""
    from mmtvr.checkpoints import (
        find_checkpoint,
        guard_loading,
        read_checkpoint,
    )
    from mmtvr.models.lora import has_lora, merge_lora, take_adapters
    from mmtvr.registry import MODELS

    if not (options.adapters or options.merged):
        raise SetupError('nothing to write: give --adapters or --merged')
    guard_loading(options.trust_checkpoint)
    cfg = load_config(options.config, options.cfg_options)
    if not has_lora(cfg.model):
        raise SetupError(
            f'{options.config} has no adapters: set model.lora, as with '
            '--cfg-options model.lora.text_encoder.r=8'
        )
    model = MODELS.build(cfg.model)
    towers = {side: _hash_base(getattr(model, side)) for side in SIDES}
    content = read_checkpoint(find_checkpoint(options.checkpoint))
    weights = {
        name.removeprefix('module.'): value
        for name, value in content['state_dict'].items()
    }
    missing, unexpected = model.load_state_dict(weights, strict=False)
    wanted = take_adapters(model)
    lacking = [name for name in missing if name in wanted]
    if lacking or unexpected:
        name = (lacking or unexpected)[0]
        raise SetupError(
            f'{options.checkpoint} is not of the model of '
            f'{options.config}: {name} is '
            f'{"missing" if lacking else "unknown"}'
        )
    if missing:
        # Adapters alone: they belong to one tower.
        meta = content.get('meta', {})
        for side, tower in towers.items():
            if meta.get(side, tower) != tower:
                raise SetupError(
                    f'the adapters in {options.checkpoint} belong to a '
                    f'{side} with weights {meta[side][:12]}, but that of the '
                    f'config has {tower[:12]}: use the encoder they were '
                    'trained on'
                )
    if options.adapters:
        if any(towers[s] != _hash_base(getattr(model, s)) for s in SIDES):
            raise SetupError(
                f'the towers in {options.checkpoint} are not the pretrained '
                'ones of the config, so adapters alone would lose what they '
                'learned before: write --merged'
            )
        _save(wanted, options.adapters, towers)
    if options.merged:
        _save(merge_lora(model), options.merged, {})


def _hash_base(encoder: 'nn.Module') -> str:
    from mmtvr.models.frozen import hash_tower
    from mmtvr.models.lora import ADAPTER

    return hash_tower(encoder, without=ADAPTER)


def _save(weights: dict[str, 'Tensor'], path: Path, meta: dict) -> None:
    import torch
    from safetensors.torch import save_file

    from mmtvr.checkpoints import SAFETENSORS

    with atomic_path(path) as partial:
        if path.suffix == SAFETENSORS:
            weights = {k: v.contiguous() for k, v in weights.items()}
            save_file(weights, partial, meta)
            partial.chmod(0o644)
        else:
            torch.save(dict(state_dict=weights, meta=meta), partial)
    print(
        f'{path}: {len(weights)} tensors, {path.stat().st_size / 1e6:.2f} MB'
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'mmtvr lora',
        description='Write the LoRA adapters of a checkpoint alone, or merged '
        'into the towers: a checkpoint for the config without model.lora.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('config', help='config file with model.lora')
    parser.add_argument(
        'checkpoint',
        help='checkpoint or work folder of a training, or adapters alone',
    )
    parser.add_argument(
        '--adapters',
        type=Path,
        help='write adapters, projections and heads there (.safetensors)',
    )
    parser.add_argument(
        '--merged', type=Path, help='write the merged model there'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings: model.lora.text_encoder.r=8',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    return parser.parse_args(argv)
