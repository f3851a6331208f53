"""Test a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
import os
import sys

from mmengine.config import Config, DictAction
from mmengine.model import is_model_wrapper

from mmtvr.checkpoints import TRUST_HELP, guard_loading
from mmtvr.cli.command import gc_disabled, run_command
from mmtvr.config import load_config
from mmtvr.config.preflight import (
    build_runner,
    check_file,
    check_runner,
    check_weights,
)
from mmtvr.distributed import LAUNCHERS
from mmtvr.distributed.launch import prepare_launch
from mmtvr.errors import SetupError


def parse_args() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description='Test a checkpoint')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help='checkpoint file, .pth or .safetensors'
    )
    parser.add_argument(
        '--work-dir', help='folder for logs (default: work_dirs/CONFIG)'
    )
    parser.add_argument(
        '--dump',
        metavar='FILE.npz',
        help='write the scores of all texts against all videos, with ids, '
        'captions and file names (see mmtvr.SimilarityDump)',
    )
    parser.add_argument(
        '--fine-grained',
        nargs='?',
        const='dataset',
        metavar='FILE.json',
        help='also evaluate partial captions and twins: of a file that '
        'tools/data/fine_grained.py wrote, or without a path those that the '
        'dataset makes',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings: test_dataloader.batch_size=8',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    # Old launchers pass it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local-rank', '--local_rank', type=int)
    args = parser.parse_args()
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def add_dump(cfg: Config, out_file: str) -> None:
    """Add the metric that writes the scores.

    Args:
        cfg: Changed in place.
        out_file: Path that ends in ``.npz``.

    Raises:
        SetupError: Another ending.
    """
    if not out_file.endswith('.npz'):
        raise SetupError(f'--dump writes a .npz file, got {out_file}')
    metrics = cfg.get('test_evaluator') or []
    metrics = list(metrics) if isinstance(metrics, list) else [metrics]
    dump = dict(type='mmtvr.SimilarityDump', out_file=out_file)
    cfg.test_evaluator = [*metrics, dump]


def main() -> None:
    """Test as the command line and the config say."""
    args = parse_args()
    guard_loading(args.trust_checkpoint)
    with gc_disabled():
        cfg = load_config(args.config, args.cfg_options, args.work_dir)
        check_file(args.checkpoint, 'checkpoint')
        cfg.load_from = args.checkpoint
        cfg.resume = False
        if args.fine_grained:
            if args.fine_grained != 'dataset':
                check_file(args.fine_grained, 'set of fine-grained captions')
            cfg.merge_from_dict({'test_cfg.fine_grained': args.fine_grained})
        if args.dump:
            add_dump(cfg, args.dump)
        prepare_launch(cfg, args.launcher)
        runner = build_runner(cfg)
        model = runner.model
        check_weights(
            model.module if is_model_wrapper(model) else model, args.checkpoint
        )
        check_runner(runner, 'test')
    runner.test()


if __name__ == '__main__':
    sys.exit(run_command(main))
