"""``mmtvr test`` and ``tools/test.py``: test a checkpoint."""

import argparse
import os
from collections.abc import Sequence

from mmengine.config import Config

from mmtvr.cli.command import (
    CHECKPOINT_HELP,
    HelpFormatter,
    choose_checkpoint,
    gc_disabled,
    run_command,
)
from mmtvr.cli.train import parse_run
from mmtvr.config import check_parts, is_work_folder, load_config
from mmtvr.errors import SetupError

# Of a config that is to be tested.
NEEDED = ('model', 'test_dataloader', 'test_cfg', 'test_evaluator')

EXAMPLES = """
examples:
  mmtvr test tpmcl_moving_shapes work_dirs/tpmcl_moving_shapes
  mmtvr test work_dirs/dmae_mine
  mmtvr test CONFIG epoch_5.pth --dump scores.npz
  mmtvr test CONFIG epoch_5.pth --cfg-options test_dataloader.batch_size=8

`mmtvr evaluate scores.npz` reads what --dump wrote.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; that of the process if None."""
    parser = argparse.ArgumentParser(
        'mmtvr test',
        description='Test a checkpoint.',
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        'config', help='config file, name of a recipe, or work folder of a run'
    )
    parser.add_argument('checkpoint', nargs='?', help=CHECKPOINT_HELP)
    parser.add_argument(
        '--work-dir',
        help='folder for logs (default: work_dirs/CONFIG, or test/ in a work '
        'folder)',
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
    args = parse_run(parser, argv, 'test_dataloader.batch_size=8')
    if args.checkpoint is None:
        if not is_work_folder(args.config):
            parser.error('give a checkpoint, or the work folder of a run')
        args.checkpoint = args.config
    if args.work_dir is None and is_work_folder(args.config):
        # The runner writes its config, which would replace that of the run.
        args.work_dir = os.path.join(args.config, 'test')
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


def test(args: argparse.Namespace) -> None:
    """Test as the command line and the config say."""
    from mmtvr.checkpoints import find_checkpoint, guard_loading
    from mmtvr.config.preflight import (
        build_runner,
        check_file,
        check_runner,
        check_weights,
    )
    from mmtvr.distributed.launch import prepare_launch
    from mmtvr.engine.hooks.live_line import live_line
    from mmtvr.engine.loops import unwrap_model
    from mmtvr.search.encoder import require_pretrained

    guard_loading(args.trust_checkpoint)
    with gc_disabled():
        cfg = load_config(
            args.config, args.cfg_options, args.work_dir, args.data
        )
        checkpoint = choose_checkpoint(args.config, args.checkpoint)
        if checkpoint is not None and '://' not in checkpoint:
            checkpoint = str(find_checkpoint(checkpoint))
        cfg.load_from = checkpoint
        cfg.resume = False
        if args.fine_grained:
            if args.fine_grained != 'dataset':
                check_file(args.fine_grained, 'set of fine-grained captions')
            cfg.merge_from_dict({'test_cfg.fine_grained': args.fine_grained})
        if args.dump:
            add_dump(cfg, args.dump)
        check_parts(cfg, *NEEDED)
        prepare_launch(cfg, args.launcher)
        runner = build_runner(cfg)
        model = unwrap_model(runner.model)
        if checkpoint is None:
            require_pretrained(name for name, _ in model.named_parameters())
        else:
            check_weights(model, checkpoint)
        check_runner(runner, 'test')
    with live_line(runner):
        runner.test()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: test(parse_args(argv)))
