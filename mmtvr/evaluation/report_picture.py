"""A picture of an evaluation: where the right answers stand."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from torch import Tensor

BINS = 40
TITLES = {'t2v': 'text to video', 'v2t': 'video to text'}


def draw_ranks(path: Path, ranks: Mapping[str, Tensor], title: str) -> None:
    """Draw a histogram of ranks and the recall at every k.

    Args:
        path: The picture, for example a PNG.
        ranks: Direction (``t2v``, ``v2t``) to the rank of each query, (Q,),
            from 1.
        title: What was evaluated.
    """
    figure = Figure(figsize=(10, 4), layout='constrained')
    histogram, curve = figure.subplots(1, 2)
    last = max(float(each.max()) for each in ranks.values())
    edges = np.unique(np.geomspace(1, last + 1, BINS).round()) - 0.5
    for name, each in ranks.items():
        values = np.sort(each.numpy())
        histogram.hist(
            values,
            edges,
            weights=np.full(len(values), 100 / len(values)),
            histtype='step',
            linewidth=1.5,
            label=TITLES[name],
        )
        share = 100 * np.arange(1, len(values) + 1) / len(values)
        curve.step(
            [*values, last], [*share, 100], where='post', label=TITLES[name]
        )
    for axes in (histogram, curve):
        axes.set_xscale('log')
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.4)
    histogram.set(xlabel='rank of the right answer', ylabel='queries (%)')
    curve.set(xlabel='k', ylabel='recall at k (%)', ylim=(0, 101))
    curve.legend(loc='lower right')
    # File names may hold a $, which would begin a formula.
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=120)
