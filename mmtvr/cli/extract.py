"""Compute the features of frozen towers: ``tools/extract.py``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmtvr.cli.command import (
    PRETRAINED,
    TRUST_HELP,
    HelpFormatter,
    add_device,
    at_least,
    run_command,
)
from mmtvr.config import ConfigOptions, load_config
from mmtvr.config.frozen import SPLITS, find_files
from mmtvr.errors import SetupError

EXAMPLES = """
examples:
  mmtvr extract clip4clip_msrvtt data/features
  mmtvr extract CONFIG FOLDER --split train --views 4
  mmtvr train clip4clip_msrvtt --cfg-options frozen_features=data/features
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(
        lambda: extract(parse_args(argv)), 'the same command goes on'
    )


def extract(options: argparse.Namespace) -> None:
    """Compute the features of a config."""
    import torch

    from mmtvr.checkpoints import (
        find_checkpoint,
        guard_loading,
        read_checkpoint,
    )
    from mmtvr.config.preflight import check_weights
    from mmtvr.engine.extraction import Extraction
    from mmtvr.registry import MODELS
    from mmtvr.search.encoder import choose_device

    guard_loading(options.trust_checkpoint)
    cfg = load_config(options.config, options.cfg_options)
    if cfg.model.get('frozen_encoders') and 'FrozenFeatureDataset' in str(cfg):
        raise SetupError(
            'the config reads frozen features itself: extract them from the '
            'config without frozen_features'
        )
    rank = int(os.environ.get('RANK', 0))
    world_size = int(os.environ.get('WORLD_SIZE', 1))
    device = options.device
    if device is None and torch.cuda.is_available():
        place = int(os.environ.get('LOCAL_RANK', 0))
        device = f'cuda:{place % torch.cuda.device_count()}'
    device = choose_device(device)
    model = MODELS.build(cfg.model)
    if options.checkpoint not in (None, PRETRAINED):
        checkpoint = find_checkpoint(options.checkpoint)
        check_weights(model, str(checkpoint))
        weights = read_checkpoint(checkpoint)['state_dict']
        model.load_state_dict(
            {k.removeprefix('module.'): v for k, v in weights.items()},
            strict=False,
        )
    model = model.to(device).eval()
    files = find_files(cfg, options.folder)
    for name in dict.fromkeys(
        files[split] for split in options.split or SPLITS if split in files
    ):
        split = next(s for s in reversed(SPLITS) if files.get(s) == name)
        loader = cfg[f'{split}_dataloader']
        work = Extraction(model, cfg.model, loader, name, options.views)
        if work.run(rank, world_size):
            size = name.stat().st_size / 1e6
            print(
                f'{name}: {len(work.samples.videos):,} videos and '
                f'{len(work.samples.captions):,} captions, {size:,.1f} MB'
            )
        else:
            print(f'{name}: other processes are still at work')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        'mmtvr extract',
        description='Compute what the towers of a config make of all frames '
        'and captions, once. Training then takes it by --cfg-options '
        'frozen_features=FOLDER. A run that was killed goes on; torchrun '
        '--nproc-per-node N shares the work.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('folder', type=Path, help='where to write the files')
    parser.add_argument(
        '--checkpoint',
        help='weights of the towers, a checkpoint or a work folder; '
        f'`{PRETRAINED}` for the pretrained ones (default)',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        help='which loaders to do it for (default: all of the config)',
    )
    parser.add_argument(
        '--views',
        type=at_least(1),
        default=1,
        help='draws of each training video: 1 for the middle frames alone '
        '(default), more for further ones drawn as in training',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override settings',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    add_device(parser)
    return parser.parse_args(argv)
