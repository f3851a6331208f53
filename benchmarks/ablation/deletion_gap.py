"""Whether an importance names the tokens that carry a match.

``python -m benchmarks.ablation.deletion_gap CONFIG CHECKPOINT`` deletes the
most important words, or frames with ``--side video``, of the first caption of
each video of the test set from what goes into the model, and compares what the
match loses, in logits, with what as many random ones cost. Intervals are by
bootstrap over videos.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.runner import load_checkpoint

from mmtvr.checkpoints import guard_loading
from mmtvr.cli.command import TRUST_HELP, run_command
from mmtvr.config import load_config
from mmtvr.evaluation.fine_grained import cluster_interval
from mmtvr.models.partial_order.deletion import (
    METHODS,
    DeletionProbe,
    deletion_gaps,
)

BATCH = 50
TEXT_KEYS = ('tokens', 'token_mask', 'token_weight', 'cut_pieces')


def load_inputs(
    cfg: Config, model: torch.nn.Module, loader: str
) -> Iterator[dict]:
    """Inputs of the first caption of each video, and of the video."""
    dataset = DATASETS.build(cfg[loader].dataset)
    for start in range(0, len(dataset), BATCH):
        indices = range(start, min(start + BATCH, len(dataset)))
        samples = [dataset[index] for index in indices]
        for sample in samples:
            for key in TEXT_KEYS:
                if key in sample['inputs']:
                    sample['inputs'][key] = sample['inputs'][key][:1]
        batch = model.data_preprocessor(pseudo_collate(samples), False)
        yield batch['inputs']


def measure(
    cfg: Config,
    model: torch.nn.Module,
    loader: str = 'test_dataloader',
    side: str = 'text',
    share: float = 0.3,
) -> dict[str, tuple[float, float, float]]:
    """Mean gap and its 95 % interval, in logits, by method."""
    torch.manual_seed(0)
    gaps = defaultdict(list)
    for inputs in load_inputs(cfg, model, loader):
        probe = DeletionProbe(model, inputs, side)
        for method, values in deletion_gaps(probe, METHODS, share).items():
            gaps[method] += values.tolist()
    found = {}
    for method, values in gaps.items():
        # One caption of each video: a pair is a cluster of its own.
        low, high = cluster_interval(np.array(values), np.arange(len(values)))
        found[method] = float(np.mean(values)), low, high
    return found


def main() -> None:
    """Print the gaps, and write them with --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--side', choices=('text', 'video'), default='text')
    parser.add_argument('--share', type=float, default=0.3)
    parser.add_argument('--loader', default='test_dataloader')
    parser.add_argument('--out', type=Path, help='a .json file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE'
    )
    parser.add_argument(
        '--trust-checkpoint', action='store_true', help=TRUST_HELP
    )
    args = parser.parse_args()
    guard_loading(args.trust_checkpoint)
    cfg = load_config(args.config, args.cfg_options)
    model = MODELS.build(cfg.model)
    load_checkpoint(model, args.checkpoint, map_location='cpu')
    found = measure(cfg, model.eval(), args.loader, args.side, args.share)
    for method, (mean, low, high) in found.items():
        what = 'random drop' if method == 'random' else f'gap of {method}'
        print(f'{what:<22}{mean:7.2f}  [{low:.2f}, {high:.2f}]')
    if args.out is not None:
        means = {method: values[0] for method, values in found.items()}
        args.out.write_text(json.dumps(means), encoding='utf-8')


if __name__ == '__main__':
    sys.exit(run_command(main))
