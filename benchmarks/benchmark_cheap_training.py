"""Full, LoRA and frozen training side by side: time, memory, pairs per second.

``python -m benchmarks.benchmark_cheap_training`` trains on moving shapes with
a randomly initialised CLIP. All variants are one config with other settings;
features are extracted into a temporary folder first. A step is
``train_step`` of the model alone; pairs per second count the loading of the
batches, videos or features, in the process itself.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from transformers import CLIPConfig, CLIPModel
from transformers.utils import logging

from benchmarks.measuring import peak_megabytes, report, time_in_turn
from mmtvr.cli import extract
from mmtvr.config import load_config
from mmtvr.pretrained import resolve_pretrained

VARIANTS = {
    'full': {},
    'LoRA, r=8': {
        'model.lora.text_encoder.r': 8,
        'model.lora.frame_encoder.r': 8,
    },
    'frozen, videos': {'model.frozen_encoders': True},
    'frozen, features': None,
}


def save_clip(folder: str, width: int, layers: int, size: int) -> None:
    """Write a CLIP with random weights, and the files beside them."""
    source = Path(resolve_pretrained('mmtvr://moving-shapes-clip'))
    shutil.copytree(source, folder, dirs_exist_ok=True)
    config = CLIPConfig.from_pretrained(source)
    for tower in (config.text_config, config.vision_config):
        tower.hidden_size = width
        tower.intermediate_size = 4 * width
        tower.num_hidden_layers = layers
        tower.num_attention_heads = width // 64
    config.vision_config.image_size = size
    config.vision_config.patch_size = 16
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    (Path(folder) / 'preprocessor_config.json').write_text(
        '{"image_processor_type": "CLIPImageProcessor", '
        f'"size": {{"shortest_edge": {size}}}, '
        f'"crop_size": {{"height": {size}, "width": {size}}}}}'
    )


def options_of(
    variant: str, clip: str, folder: str, args: dict[str, Any]
) -> dict[str, Any]:
    """Options of a variant, and of what is the same in all of them."""
    options = {'model.encoder': clip}
    for split in ('train', 'val', 'test'):
        options[f'{split}_dataloader.dataset.data_root'] = args['data_root']
        options[f'{split}_dataloader.num_workers'] = 0
        options[f'{split}_dataloader.persistent_workers'] = False
    options['train_dataloader.dataset.indices'] = args['videos']
    options['train_dataloader.batch_size'] = args['batch']
    own = VARIANTS[variant]
    return options | (dict(frozen_features=folder) if own is None else own)


def build(
    variant: str, clip: str, folder: str, args: dict[str, Any]
) -> tuple[Any, Any, Any]:
    """Model, optimiser wrapper and endless batches of a variant."""
    logging.set_verbosity_error()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    options = options_of(variant, clip, folder, args)
    cfg = load_config(args['config'], options, work_dir=f'{folder}/runs')
    cfg.log_level = 'ERROR'
    torch.manual_seed(0)
    runner = Runner.from_cfg(cfg)
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    loader = runner.train_loop.dataloader

    def batches() -> Any:
        while True:
            yield from loader

    return runner.model.to(args['device']).train(), wrapper, batches()


def prepare(
    variant: str,
    clip: str,
    folder: str,
    args: dict[str, Any],
    device: str,
) -> Callable[[], object]:
    """Make the task to take one step on one batch."""
    model, wrapper, batches = build(variant, clip, folder, args)
    batch = next(batches)
    return lambda: model.train_step(batch, wrapper)


def measure(clip: str, folder: str, args: dict[str, Any]) -> list[dict]:
    """Time all variants in turn, and measure the memory of each."""
    tasks, counts = {}, {}
    for variant in VARIANTS:
        model, wrapper, batches = build(variant, clip, folder, args)
        counts[variant] = sum(
            p.numel() for p in model.parameters() if p.requires_grad
        )
        batch = next(batches)
        tasks[variant, 'step'] = lambda m=model, w=wrapper, b=batch: (
            m.train_step(b, w)
        )
        tasks[variant, 'whole'] = lambda m=model, w=wrapper, b=batches: (
            m.train_step(next(b), w)
        )
    seconds = time_in_turn(tasks, args['repeats'])
    rows = []
    for variant in VARIANTS:
        step = median(seconds[variant, 'step'])
        whole = median(seconds[variant, 'whole'])
        device = args['device']
        memory = peak_megabytes(prepare, variant, clip, folder, args, device)
        rows.append(
            {
                'training': variant,
                'trainable': counts[variant],
                'step, ms': 1000 * step,
                'step with loading, ms': 1000 * whole,
                'pairs per second': args['batch'] / whole,
                'memory of a step, MiB': memory,
            }
        )
    return rows


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/dmae_moving_shapes.py')
    parser.add_argument('--data-root', default='data/moving_shapes')
    parser.add_argument('--videos', type=int, default=128)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--width', type=int, default=256)
    parser.add_argument('--layers', type=int, default=6)
    parser.add_argument('--size', type=int, default=96)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clip, folder = f'{temporary}/clip', f'{temporary}/features'
        save_clip(clip, args.width, args.layers, args.size)
        settings = {k: v for k, v in vars(args).items() if k != 'out'}
        options = options_of('full', clip, folder, settings)
        started = time.perf_counter()
        extract.extract(
            extract.parse_args(
                [
                    *(
                        args.config,
                        folder,
                        '--split',
                        'train',
                        '--cfg-options',
                    ),
                    *(f'{key}={value}' for key, value in options.items()),
                ]
            )
        )
        seconds = time.perf_counter() - started
        rows = measure(clip, folder, settings)
    report(
        f'CLIP of {args.layers} layers of width {args.width}, images of '
        f'{args.size}, batch {args.batch}, medians of {args.repeats}; '
        f'extraction of {args.videos} videos took {seconds:.1f} s',
        rows,
        args.device,
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
