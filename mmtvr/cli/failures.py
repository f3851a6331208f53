"""Write a page of the test queries at which a model fails, and others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmtvr.cli.command import (
    CHECKPOINT_HELP,
    TRUST_HELP,
    choose_checkpoint,
    run_command,
)
from mmtvr.config import ConfigOptions

EPILOG = """
The page shows the queries of the test set whose video ranks worst, pairs that
are confused with each other, those whose video leads by most, and random ones,
each with its five best videos and the true one as rows of frames,
which words carried the score, which frames TPM-CL would mask, and whether
NegNCE would count the first result as a hard negative. It is one HTML file
that needs no network.

examples:
  mmtvr failures tpmcl_moving_shapes work_dirs/tpmcl_moving_shapes/epoch_10.pth
  mmtvr failures CONFIG CHECKPOINT --count 20 --out report/failures.html
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        'mmtvr failures',
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help=CHECKPOINT_HELP)
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('failures.html'),
        help='default: failures.html',
    )
    parser.add_argument(
        '--count',
        type=int,
        default=10,
        help='number of queries, or pairs, of each kind (default: 10)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the random queries'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE'
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    return parser.parse_intermixed_args(argv)


def failures(args: argparse.Namespace) -> None:
    """Write the page."""
    import torch
    from mmengine.registry import DATASETS, MODELS

    from mmtvr.apis.explain import find_failures
    from mmtvr.checkpoints import (
        find_checkpoint,
        fit_weights,
        guard_loading,
        read_checkpoint,
    )
    from mmtvr.config import load_config
    from mmtvr.config.preflight import check_weights
    from mmtvr.search.encoder import require_pretrained
    from mmtvr.visualization.failures import write_page

    guard_loading(args.trust_checkpoint)
    cfg = load_config(args.config, args.cfg_options)
    model = MODELS.build(cfg.model)
    checkpoint = choose_checkpoint(args.config, args.checkpoint)
    if checkpoint is None:
        require_pretrained(name for name, _ in model.named_parameters())
    else:
        checkpoint = str(find_checkpoint(checkpoint))
        check_weights(model, checkpoint)
        weights = read_checkpoint(checkpoint)['state_dict']
        fit = fit_weights(weights, model.state_dict())
        model.load_state_dict(fit.weights)
    if torch.cuda.is_available():
        model = model.cuda()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    found = find_failures(model.eval(), dataset, args.count, args.seed)
    write_page(args.out, found, f'{args.config}, {checkpoint or "pretrained"}')
    print(f'{args.out}: {len(found)} queries')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parse_args(argv)
    return run_command(lambda: failures(args), 'nothing was written')
