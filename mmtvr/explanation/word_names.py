"""What the word pieces of a caption are called."""

from collections.abc import Callable
from typing import Any

from mmtvr.errors import SetupError

PieceNames = Callable[[str], list[str]]


def find_piece_names(pipeline: Any) -> PieceNames:
    """Find the transform that cuts captions into named word pieces.

    Args:
        pipeline: A ``Compose`` or a list of transforms.

    Returns:
        Its ``name_pieces``: from a caption to the names of its real tokens,
        in the order in which the text encoder sees them.

    Raises:
        SetupError: If no transform has it.
    """
    transforms = getattr(pipeline, 'transforms', pipeline)
    for transform in transforms:
        if hasattr(transform, 'name_pieces'):
            return transform.name_pieces
    raise SetupError(
        'no transform of the pipeline names word pieces, which an '
        'explanation shows: use mmtvr.TokenizeText for the captions'
    )
