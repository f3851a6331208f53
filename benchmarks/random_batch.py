"""A batch of random words and frames, as the preprocessor gives it."""

import torch
from torch import Tensor


def draw_batch(
    pieces: int, batch: int, words: int, frames: int, size: int, device: str
) -> dict[str, Tensor]:
    """Draw pairs without padding.

    Args:
        pieces: Word pieces are drawn from 1 up to this number.
        batch: Pairs.
        words: Word pieces of a caption.
        frames: Frames of a video.
        size: Height and width of a frame.
        device: Where they lie.

    Returns:
        What a retriever takes, row i of the videos with caption i.
    """
    rows = torch.arange(batch, device=device)
    shape = (batch, frames, 3, size, size)
    return dict(
        tokens=torch.randint(1, pieces, (batch, words), device=device),
        token_mask=torch.ones(batch, words, device=device).bool(),
        frames=torch.randint(256, shape, dtype=torch.uint8, device=device),
        frame_mask=torch.ones(batch, frames, device=device).bool(),
        video_of_text=rows,
        video_ids=rows,
    )
