"""Name the video or the caption whose features cannot be compared."""

from collections.abc import Sequence

import torch

from mmtvr.errors import NonFiniteError
from mmtvr.structures import TokenFeatures

NAMES_SHOWN = 5


def check_features(
    features: TokenFeatures, what: str, names: Sequence[str]
) -> None:
    """Refuse features that are NaN or infinite.

    Args:
        features: N rows; what stands under padding does not matter.
        what: What a row is, in the plural.
        names: What each row is called.

    Raises:
        NonFiniteError: Names the first rows that are not finite.
    """
    fine = torch.isfinite(features.pooled).all(dim=-1)
    tokens = torch.isfinite(features.tokens).all(dim=-1)
    fine &= (tokens | ~features.mask).all(dim=-1)
    if fine.all():
        return
    bad = [names[row] for row in (~fine).nonzero().flatten().tolist()]
    shown = ', '.join(bad[:NAMES_SHOWN])
    more = ', ...' if len(bad) > NAMES_SHOWN else ''
    raise NonFiniteError(
        f'the features of {len(bad)} of {len(names)} {what} of a batch are '
        f'NaN or infinite and cannot be ranked: {shown}{more}. Look at the '
        'weights of the checkpoint where it is all of them, else at these'
    )
