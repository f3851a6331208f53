"""Every word against every frame: the kernel that token-wise heads share."""

from functools import partial

import torch
from torch import Tensor

from mmtvr.structures import TokenFeatures

from .pair_blocks import text_blocks
from .precision import autocast_off, full_precision

BLOCK_BYTES = 2**28


def token_similarity(
    text: TokenFeatures,
    video: TokenFeatures,
    visual_attention: float = 0.0,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    r"""Token-wise similarity of all texts with all videos.

    With cosines :math:`s_{pq}` of word p and frame q, and weights a, b that
    are brought to sum 1 over the real tokens of each side,

    .. math:: S = \tfrac12 \Bigl(\sum_p a_p \max_q s_{pq}
        + \sum_q b_q \max_p s_{pq}\Bigr).

    Visual attention (arXiv:2309.11082, read in its released code) adds
    to the best frame z of a word the frame y that looks most like z, chosen
    without a look at the text: :math:`\max_q s_{pq}` becomes
    :math:`s_{pz} + c \langle v_z, v_y \rangle s_{py}`. A frame that has no
    other frame at a positive cosine adds nothing.

    Padding never counts: it is -inf before a maximum and 0 in a mean. A side
    without any real token gives similarity 0. Half precision is computed in
    float32, under autocast too.

    Args:
        text: B captions. ``pooled`` is not read. ``weight`` (B, L) are the
            averaging weights a, not negative; None stands for 1 each.
        video: V videos. ``weight`` (V, T) are the averaging weights b.
        visual_attention: The constant c; 0.5 as released, 0 switches the
            second frame off.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take. The peak is about three times this in
            training. Blocks after the first mean recomputation in backward.

    Returns:
        Shape (B, V), rows are texts, in [-1, 1], or up to
        1 + c / 2 with visual attention.
    """
    with autocast_off(text.tokens):
        text, video = full_precision(text, video)
        words, frames = _real_tokens(text), _real_tokens(video)
        neighbours = ()
        if visual_attention:
            neighbours = nearest_frames(frames, video.mask)
        row_bytes = (
            words.shape[1] * frames[..., 0].numel() * words.element_size()
        )
        return text_blocks(
            partial(_score, visual_attention),
            (words, text.mask, _mean_weight(text)),
            frames,
            video.mask,
            _mean_weight(video),
            *neighbours,
            row_bytes=row_bytes,
            block_bytes=block_bytes,
        )


def nearest_frames(frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """For each frame, the other frame of its video that looks most like it.

    Args:
        frames: Shape (V, T, D), unit vectors.
        mask: Shape (V, T), bool.

    Returns:
        Cosine, shape (V, T), in [0, 1], and the number of that frame, shape
        (V, T), int64. A frame whose cosines with all others are negative, or
        that has no other, is its own neighbour with cosine 0.
    """
    cosine = frames @ frames.mT
    cosine = cosine.masked_fill(~mask[:, None], -torch.inf)
    itself = torch.eye(frames.shape[1], dtype=torch.bool, device=frames.device)
    nearest = cosine.masked_fill(itself, 0.0).max(-1)
    return nearest.values, nearest.indices


def _real_tokens(features: TokenFeatures) -> Tensor:
    """Zero the padding, whose content may be anything, NaN included."""
    return features.tokens.masked_fill(~features.mask[..., None], 0.0)


def _mean_weight(features: TokenFeatures) -> Tensor:
    """Weights of a mean over the real tokens: sum 1, or 0 without any."""
    if features.weight is None:
        weight = features.mask.to(features.tokens.dtype)
    else:
        weight = features.weight.masked_fill(~features.mask, 0.0)
    smallest = torch.finfo(weight.dtype).tiny
    return weight / weight.sum(-1, keepdim=True).clamp_min(smallest)


def _score(
    visual_attention: float,
    words: Tensor,
    word_mask: Tensor,
    word_weight: Tensor,
    frames: Tensor,
    frame_mask: Tensor,
    frame_weight: Tensor,
    likeness: Tensor | None = None,
    neighbour: Tensor | None = None,
) -> Tensor:
    """Score one block of texts with all videos.

    Args:
        visual_attention: The constant c.
        words: Shape (b, L, D), 0 at padding.
        word_mask: Shape (b, L), bool.
        word_weight: Shape (b, L), sum 1.
        frames: Shape (V, T, D), 0 at padding.
        frame_mask: Shape (V, T), bool.
        frame_weight: Shape (V, T), sum 1.
        likeness: Shape (V, T), cosine with the nearest frame.
        neighbour: Shape (V, T), int64, number of the nearest frame.

    Returns:
        Shape (b, V).
    """
    cosine = words.flatten(0, 1) @ frames.flatten(0, 1).mT
    cosine = cosine.view(*words.shape[:2], *frames.shape[:2])
    cosine.masked_fill_(~word_mask[:, :, None, None], -torch.inf)
    cosine.masked_fill_(~frame_mask, -torch.inf)
    # max with indices, not amax: backward keeps the indices, not the cosines.
    best = cosine.max(3)
    comparable = word_mask[:, :, None] & frame_mask.any(1)
    word_score = best.values.masked_fill(~comparable, 0.0)
    if likeness is not None and neighbour is not None:
        first = torch.arange(len(frames), device=words.device)
        flat = best.indices + first * frames.shape[1]
        second = neighbour.flatten()[flat].unsqueeze(3)
        second_score = cosine.gather(3, second).squeeze(3)
        second_score = second_score.masked_fill(~comparable, 0.0)
        bonus = likeness.flatten()[flat] * second_score
        word_score = word_score + visual_attention * bonus
    comparable = word_mask.any(1)[:, None, None] & frame_mask
    frame_score = cosine.max(1).values.masked_fill(~comparable, 0.0)
    return 0.5 * (
        torch.einsum('bp,bpv->bv', word_weight, word_score)
        + torch.einsum('vq,bvq->bv', frame_weight, frame_score)
    )
