"""Every word against every frame: the kernel that token-wise heads share."""

import torch
from torch import Tensor

from mmtvr.structures import TokenFeatures

from .max_similarity import Bag, Neighbours, max_similarity
from .precision import autocast_off, full_precision, wide_dtype

BLOCK_BYTES = 2**24


def token_similarity(
    text: TokenFeatures,
    video: TokenFeatures,
    neighbours: Neighbours | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Tensor:
    r"""Token-wise similarity of all texts with all videos.

    With cosines :math:`s_{pq}` of word p and frame q, and weights a, b that
    are brought to sum 1 over the real tokens of each side,

    .. math:: S = \tfrac12 \Bigl(\sum_p a_p \max_q s_{pq}
        + \sum_q b_q \max_p s_{pq}\Bigr).

    With ``neighbours``, a word's best frame z brings a second frame, see
    :func:`nearest_frames`.

    Padding never counts: it is -inf before a maximum and 0 in a mean. A side
    without any real token gives similarity 0. Half precision is computed in
    float32, under autocast too.

    Args:
        text: B captions. ``pooled`` is not read. ``weight`` (B, L) are the
            averaging weights a, not negative; None stands for 1 each.
        video: V videos. ``weight`` (V, T) are the averaging weights b.
        neighbours: Second frames of these videos, or None.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take. The peak is about three times this.

    Returns:
        Shape (B, V), rows are texts, in [-1, 1], or up to 1 + c / 2 with
        neighbours of visual attention c. Differentiable once.
    """
    of_words, of_frames = token_directions(
        text, video, neighbours, block_bytes
    )
    return 0.5 * (of_words + of_frames)


def token_directions(
    text: TokenFeatures,
    video: TokenFeatures,
    neighbours: Neighbours | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[Tensor, Tensor]:
    """Both sums of :func:`token_similarity`, of which it is the mean.

    Args:
        text: B captions.
        video: V videos.
        neighbours: Second frames of these videos, or None.
        block_bytes: Memory of one block of texts.

    Returns:
        Means over the words and over the frames, each (B, V).
    """
    with autocast_off(text.tokens):
        dtype = wide_dtype(text.tokens, video.tokens)
        of_words, of_frames = max_similarity(
            _bag(text, dtype), _bag(video, dtype), neighbours, block_bytes
        )
        of_words = of_words.masked_fill(~video.mask.any(1), 0.0)
        of_frames = of_frames.masked_fill(~text.mask.any(1)[:, None], 0.0)
        return of_words, of_frames


def nearest_frames(
    video: TokenFeatures, visual_attention: float
) -> Neighbours | None:
    r"""Find for each frame the other frame that looks most like it.

    Visual attention (arXiv:2309.11082, read in its released code) adds
    to the best frame z of a word the frame y that looks most like z, chosen
    without a look at the text: :math:`\max_q s_{pq}` becomes
    :math:`s_{pz} + c \langle v_z, v_y \rangle s_{py}`.

    Args:
        video: V videos of T frames, unit vectors.
        visual_attention: The constant c; 0.5 as released, 0 switches the
            second frame off.

    Returns:
        None for c = 0. Otherwise c times the cosine, in [0, c], and the
        number of that frame. A frame whose cosines with all others are
        negative, or that has no other, is its own neighbour with factor 0.
    """
    if not visual_attention:
        return None
    with autocast_off(video.tokens):
        (video,) = full_precision(video)
        frames = video.tokens.masked_fill(~video.mask[..., None], 0.0)
        cosine = frames @ frames.mT
        cosine = cosine.masked_fill(~video.mask[:, None], -torch.inf)
        itself = torch.eye(len(cosine[0]), dtype=bool, device=frames.device)
        nearest = cosine.masked_fill(itself, 0.0).max(-1)
        return Neighbours(visual_attention * nearest.values, nearest.indices)


def _bag(features: TokenFeatures, dtype: torch.dtype) -> Bag:
    """With weights of a mean over real tokens: sum 1, or 0 without any."""
    if features.weight is None:
        weight = features.mask.to(dtype)
    else:
        weight = features.weight.to(dtype).masked_fill(~features.mask, 0.0)
    total = weight.sum(-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
    return Bag(features.tokens, features.mask, weight / total)
