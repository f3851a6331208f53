"""``mmtvr train`` and ``tools/train.py``: train a model."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from mmtvr.cli.command import (
    TRUST_HELP,
    HelpFormatter,
    gc_disabled,
    run_command,
)
from mmtvr.config import ConfigOptions, check_parts, load_config
from mmtvr.distributed import LAUNCHERS
from mmtvr.errors import SetupError, import_extra

# Of a config that is to be trained.
NEEDED = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
# --log NAME, also the extra that brings the package: backend, module.
BACKENDS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
}
# The recipe for data of one's own.
OWN_RECIPE = 'dmae_own'
EXAMPLES = """
examples:
  mmtvr train tpmcl_moving_shapes
  mmtvr train --data data/video_retrieval/mine
  mmtvr train my_config.py --work-dir work_dirs/first --seed 1
  mmtvr train my_config.py --work-dir work_dirs/first --resume
  mmtvr train tpmcl_msrvtt --cfg-options train_cfg.max_epochs=3 \\
      train_dataloader.batch_size=32

`mmtvr recipes` lists recipes; a config of your own, in any folder, begins with
one: _base_ = 'mmtvr::dmae_own.py'. On several GPUs:
  torchrun --nproc-per-node 8 -m mmtvr train CONFIG --launcher pytorch
"""
AMP_DTYPES = {'fp16': 'float16', 'bf16': 'bfloat16'}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; that of the process if None."""
    parser = argparse.ArgumentParser(
        'mmtvr train',
        description='Train a model.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='config file or name of a recipe (default, with --data: '
        f'{OWN_RECIPE})',
    )
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: work_dirs/CONFIG)',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, or without a path from the last one '
        'in the work folder',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (needs a GPU)'
    )
    parser.add_argument(
        '--amp-dtype',
        choices=AMP_DTYPES,
        help='mixed precision in this type, bf16 without loss scaling; '
        '--amp alone is fp16, or what the config says',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by batch size / base_batch_size',
    )
    parser.add_argument(
        '--no-validate', action='store_true', help='skip all validation'
    )
    parser.add_argument('--seed', type=int, help='random seed')
    parser.add_argument(
        '--log',
        nargs='+',
        choices=BACKENDS,
        default=[],
        help='also log curves to TensorBoard, in the work folder, or to '
        'Weights & Biases (set WANDB_MODE=offline to stay on this machine; it '
        'also gets the config and the Python files of the current folder)',
    )
    args = parse_run(parser, argv, 'train_cfg.max_epochs=3')
    if args.config is None and args.data is None:
        parser.error('give a CONFIG, or --data DIR for your own videos')
    args.config = args.config or OWN_RECIPE
    return args


def parse_run(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, example: str
) -> argparse.Namespace:
    """Add what training and testing share, and read the command line.

    Args:
        parser: Has the arguments of one of them.
        argv: The command line; that of the process if None.
        example: A setting for the help of ``--cfg-options``.
    """
    parser.add_argument(
        '--data',
        metavar='DIR',
        help='folder of the data, in place of each data_root of the config; '
        '`mmtvr prepare table` makes one of your own videos',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help=f'override settings: {example}',
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none')
    # Old launchers pass it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local-rank', '--local_rank', type=int)
    args = parser.parse_intermixed_args(argv)
    if args.local_rank is not None:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def apply(args: argparse.Namespace, cfg: Config) -> None:
    """Put what the command line says into the config.

    Args:
        args: The arguments.
        cfg: Changed in place.

    Raises:
        SetupError: A flag cannot be followed.
    """
    from mmtvr.checkpoints import SAFETENSORS
    from mmtvr.config.preflight import check_file

    if args.seed is not None:
        cfg.merge_from_dict({'randomness.seed': args.seed})
    if args.resume:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if str(cfg.get('load_from')).endswith(SAFETENSORS) and args.resume:
        raise SetupError(
            f'{cfg.load_from} holds weights alone, a run cannot go on from '
            f'it: start from its weights by --cfg-options load_from='
            f'{cfg.load_from}'
        )
    if cfg.get('load_from'):
        check_file(cfg.load_from, 'checkpoint')
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.log:
        log_to(cfg, args.log)
    if args.amp or args.amp_dtype:
        use_mixed_precision(cfg, args.amp_dtype)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise SetupError(
                '--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) '
                'in the config: the total batch size its rate is meant for'
            )
        cfg.auto_scale_lr.enable = True


def log_to(cfg: Config, names: Sequence[str]) -> None:
    """Add backends to the visualizer.

    Args:
        cfg: Changed in place.
        names: Out of ``BACKENDS``.

    Raises:
        SetupError: Its package is missing.
    """
    visualizer = cfg.get('visualizer') or dict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
    )
    backends = list(visualizer.get('vis_backends') or [])
    for name in names:
        kind, module = BACKENDS[name]
        import_extra(module, name, f'--log {name}')
        if not any(each['type'] == kind for each in backends):
            backends.append(dict(type=kind))
    cfg.visualizer = dict(visualizer, vis_backends=backends)


def use_mixed_precision(cfg: Config, dtype: str | None) -> None:
    """Train under autocast.

    Args:
        cfg: Changed in place.
        dtype: Out of ``AMP_DTYPES``; None for what the config says, or fp16.

    Raises:
        SetupError: There is no GPU, or it does not know the type.
    """
    import torch

    if not torch.cuda.is_available():
        flag = f'--amp-dtype {dtype}' if dtype else '--amp'
        raise SetupError(f'{flag} needs a GPU, this machine has none')
    if dtype == 'bf16' and not torch.cuda.is_bf16_supported():
        raise SetupError(
            '--amp-dtype bf16, but this GPU has no bfloat16; use '
            '--amp-dtype fp16'
        )
    wrapper = cfg.optim_wrapper
    wrapper.type = 'AmpOptimWrapper'
    if dtype is not None:
        wrapper.dtype = AMP_DTYPES[dtype]
    # bfloat16 has the range of float32: its gradients do not underflow.
    static = wrapper.get('dtype') == 'bfloat16'
    wrapper.setdefault('loss_scale', 1.0 if static else 'dynamic')


def train(args: argparse.Namespace) -> None:
    """Train as the command line and the config say."""
    # What trains, PyTorch with it, takes seconds to import; --help does not.
    from mmtvr.checkpoints import guard_loading
    from mmtvr.config.preflight import (
        build_runner,
        check_runner,
        check_weights,
    )
    from mmtvr.distributed.launch import prepare_launch
    from mmtvr.engine.hooks.live_line import live_line
    from mmtvr.engine.loops import unwrap_model

    guard_loading(args.trust_checkpoint)
    with gc_disabled():
        cfg = load_config(
            args.config, args.cfg_options, args.work_dir, args.data
        )
        check_parts(cfg, *NEEDED)
        apply(args, cfg)
        prepare_launch(cfg, args.launcher)
        runner = build_runner(cfg)
        if cfg.get('load_from') and not cfg.get('resume'):
            check_weights(
                unwrap_model(runner.model), cfg.load_from, whole=False
            )
        check_runner(runner, 'train', 'val')
    if note := describe_earlier_run(cfg):
        runner.logger.warning(note)
    with live_line(runner):
        runner.train()


def describe_earlier_run(cfg: Config) -> str:
    """Say what a run that starts anew writes over; nothing if it does not."""
    last = Path(cfg.work_dir, 'last_checkpoint')
    if cfg.get('resume') or not last.is_file():
        return ''
    return (
        f'{cfg.work_dir} holds a run already, up to '
        f'{Path(last.read_text().strip()).name}. This one starts anew and '
        'writes over its checkpoints: --resume goes on with it, --work-dir '
        'DIR keeps both'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: train(parse_args(argv)))
