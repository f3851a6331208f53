"""The one structure that encoders, heads and losses exchange."""

from typing import NamedTuple

from torch import Tensor


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

    def select(self, index: Tensor) -> 'TokenFeatures':
        """Take rows.

        Args:
            index: Shape (M,), int64 row numbers or an (N,) bool mask.

        Returns:
            The rows in the order of ``index``, in every field.
        """
        return TokenFeatures(
            *(None if field is None else field[index] for field in self)
        )

    def detach(self) -> 'TokenFeatures':
        """Leave the graph.

        Returns:
            The same features without a gradient.
        """
        return TokenFeatures(
            *(None if field is None else field.detach() for field in self)
        )

    def to(self, *args: object, **kwargs: object) -> 'TokenFeatures':
        """Move all fields, as ``Tensor.to(device)`` does.

        Args:
            *args: Passed to ``Tensor.to``. Give a device, not a dtype: the
                mask is to stay boolean.
            **kwargs: Passed to ``Tensor.to``.

        Returns:
            The same features on the target device.
        """
        return TokenFeatures(
            *(
                None if field is None else field.to(*args, **kwargs)
                for field in self
            )
        )
