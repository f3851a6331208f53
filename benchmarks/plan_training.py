"""How much memory and time training will take, calculated, not measured.

``python -m benchmarks.plan_training`` counts floating point operations and
activations of CLIP's towers and divides by what a GPU is said to do.

* Operations of a tower: 2 per parameter and token in its linear layers, 4 s² h
  per layer in attention, times 3 for forward and backward.
* Activations of a layer in 16 bit without the attention matrix: 34 s h bytes
  (arXiv:2205.05198, equation 2), for s tokens of width h.
* Weights, gradients and AdamW's moments: 16 bytes per parameter.

Decoding is left out: it is the processors' work and runs beside.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.measuring import report


class Tower(NamedTuple):
    """A transformer.

    Attributes:
        layers: Number of layers.
        width: Width h.
        tokens: Tokens s of an image; those of a text come with the data.
    """

    layers: int
    width: int
    tokens: int = 0

    def operations(self, tokens: int) -> float:
        """Count operations of one forward pass."""
        linear = 12 * self.width**2 * 2 * tokens
        return self.layers * (linear + 4 * tokens**2 * self.width)

    def activations(self, tokens: int) -> float:
        """Count what one forward pass keeps for backward."""
        return self.layers * 34 * tokens * self.width


TEXT = Tower(12, 512)
IMAGE = {'ViT-B/32': Tower(12, 768, 50), 'ViT-B/16': Tower(12, 768, 197)}
PARAMETERS = 151e6
# Training pairs, words, frames, epochs of the recipes.
DATASETS = {
    'msrvtt': (180_000, 32, 12, 5),
    'msvd': (48_774, 32, 12, 5),
    'didemo': (8_392, 64, 64, 5),
    'activitynet': (10_009, 64, 64, 5),
}


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--tflops', type=float, default=989, help="the GPU's peak in 16 bit"
    )
    parser.add_argument(
        '--utilisation', type=float, default=0.3, help='share of it reached'
    )
    parser.add_argument('--gigabytes', type=float, nargs='+', default=[24, 80])
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    rows = []
    for name, (pairs, words, frames, epochs) in DATASETS.items():
        for backbone, tower in IMAGE.items():
            operations = 3 * (
                frames * tower.operations(tower.tokens)
                + TEXT.operations(words)
            )
            kept = frames * tower.activations(tower.tokens) + TEXT.activations(
                words
            )
            seconds = (
                pairs
                * epochs
                * operations
                / (args.tflops * 1e12 * args.utilisation)
            )
            row = {
                'data set': name,
                'backbone': backbone,
                'words / frames': f'{words} / {frames}',
                'GFLOP per pair': round(operations / 1e9),
                'MB per pair': round(kept / 1e6),
            }
            for size in args.gigabytes:
                free = size * 1e9 - 16 * PARAMETERS
                row[f'batch in {size:g} GB'] = int(free / kept)
            row['GPU hours'] = seconds / 3600
            rows.append(row)
    report(
        f'Calculated, at {args.utilisation:.0%} of {args.tflops:g} TFLOP/s',
        rows,
        'cpu',
        args.out,
    )


if __name__ == '__main__':
    sys.exit(main())
