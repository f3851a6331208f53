"""How far a result may be off because of the choice of queries."""

import numpy as np
from scipy.stats import bootstrap
from torch import Tensor

RESAMPLES = 1000
BATCH = 50


def bootstrap_interval(
    values: Tensor, statistic: str = 'mean', confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap over queries, always with the same seed.

    Args:
        values: Shape (Q,), a value per query: its rank, or 0 to 100 for a
            recall.
        statistic: ``'mean'`` or ``'median'``.
        confidence: Share of resamples that the interval holds.

    Returns:
        Lower and upper end; both the value itself for a single query or equal
        values.

    Raises:
        ValueError: Unknown statistic.
    """
    functions = {'mean': np.mean, 'median': np.median}
    if statistic not in functions:
        raise ValueError(
            f'statistic must be one of {sorted(functions)}, got {statistic!r}'
        )
    sample = values.double().numpy()
    if len(sample) < 2 or np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    found = bootstrap(
        (sample,),
        functions[statistic],
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        batch=BATCH,
        method='percentile',
        rng=np.random.default_rng(0),
    )
    interval = found.confidence_interval
    return float(interval.low), float(interval.high)
