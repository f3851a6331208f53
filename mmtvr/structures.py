"""The one structure that encoders, heads and losses exchange."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad


class TokenFeatures(NamedTuple):
    """Unit vectors of N captions or N videos, the same for both sides.

    Attributes:
        tokens: Shape (N, S, D). Unit vectors: the words of a caption, or the
            frames of a video. What stands at padded places has no meaning.
        mask: Shape (N, S), bool. True where there is a real token.
        pooled: Shape (N, D). Unit vector of the whole: the sentence (EOT)
            feature, or the masked mean of the frames.
        weight: Shape (N, S), floating point, or None for a weight of 1 on
            each real token. Textual attention: 1 for a token, more for a key
            word (2 by default), 0 for padding.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor
    weight: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> 'TokenFeatures':
        """Apply a function to every field but a missing weight."""
        return TokenFeatures(
            function(self.tokens),
            function(self.mask),
            function(self.pooled),
            None if self.weight is None else function(self.weight),
        )

    def select(self, index: Tensor | slice) -> 'TokenFeatures':
        """Take rows by int64 numbers (M,), a bool mask (N,) or a slice."""
        return self.map(lambda field: field[index])

    def detach(self) -> 'TokenFeatures':
        """Leave the graph."""
        return self.map(Tensor.detach)

    def to(self, *args: Any, **kwargs: Any) -> 'TokenFeatures':
        """Move all fields, as ``Tensor.to(device)`` does.

        Give a device, not a dtype: the mask is to stay boolean.
        """
        return self.map(lambda field: field.to(*args, **kwargs))


def pad_tokens(features: TokenFeatures, length: int) -> TokenFeatures:
    """Append padding up to ``length`` tokens, at least as many as there are.

    The features themselves if they are that long.
    """
    missing = length - features.mask.shape[1]
    if not missing:
        return features
    weight = features.weight
    return TokenFeatures(
        pad(features.tokens, (0, 0, 0, missing)),
        pad(features.mask, (0, missing)),
        features.pooled,
        None if weight is None else pad(weight, (0, missing)),
    )


def concatenate(parts: Sequence[TokenFeatures]) -> TokenFeatures:
    """Concatenate the rows of features, padded to the longest.

    Args:
        parts: At least one; equal width, any number of rows and tokens. All
            have a weight, or none.
    """
    length = max(part.mask.shape[1] for part in parts)
    padded = [pad_tokens(part, length) for part in parts]
    weights = [part.weight for part in padded if part.weight is not None]
    if len(weights) not in (0, len(padded)):
        raise ValueError(
            f'{len(weights)} of {len(padded)} features have a weight: '
            'expected all or none'
        )
    return TokenFeatures(
        torch.cat([part.tokens for part in padded]),
        torch.cat([part.mask for part in padded]),
        torch.cat([part.pooled for part in padded]),
        torch.cat(weights) if weights else None,
    )
