"""Token-wise similarity of texts and videos, in blocks of bounded memory.

Mean over words of the best frame, and over frames of the best word; the
backward pass recomputes nothing.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from mmtvr.errors import SetupError
from mmtvr.ops.features import autocast_off, full_precision, wide_dtype
from mmtvr.structures import TokenFeatures

BLOCK_BYTES = 2**24
KERNELS = ('torch', 'triton')


class Neighbours(NamedTuple):
    """The frame that visual attention adds to each frame of a video.

    Attributes:
        factor: Shape (V, T), what its score is multiplied by.
        index: Shape (V, T), int64, its number in the same video.
    """

    factor: Tensor
    index: Tensor


def token_similarity(
    text: TokenFeatures,
    video: TokenFeatures,
    neighbours: Neighbours | None = None,
    block_bytes: int = BLOCK_BYTES,
    kernel: str = 'torch',
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
        kernel: ``'torch'``, or ``'triton'`` for the fused kernel on GPUs, see
            :mod:`mmtvr.ops.triton_similarity`. CPUs always use PyTorch.

    Returns:
        Shape (B, V), rows are texts, in [-1, 1], or up to 1 + c / 2 with
        neighbours of visual attention c. Differentiable once.

    Raises:
        SetupError: The Triton kernel cannot compare these features.
    """
    of_words, of_frames = token_directions(
        text, video, neighbours, block_bytes, kernel
    )
    return 0.5 * (of_words + of_frames)


def token_directions(
    text: TokenFeatures,
    video: TokenFeatures,
    neighbours: Neighbours | None = None,
    block_bytes: int = BLOCK_BYTES,
    kernel: str = 'torch',
) -> tuple[Tensor, Tensor]:
    """Both sums of :func:`token_similarity`, over words and over frames."""
    with autocast_off(text.tokens):
        dtype = wide_dtype(text.tokens, video.tokens)
        of_words, of_frames = max_similarity(
            _bag(text, dtype),
            _bag(video, dtype),
            neighbours,
            block_bytes,
            kernel,
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


def text_blocks(
    score: Callable[..., Tensor],
    texts: tuple[Tensor, ...],
    *others: Tensor,
    row_bytes: int,
    block_bytes: int,
    random: bool = False,
) -> Tensor:
    """Score all texts, as many at a time as the memory budget allows.

    Where gradients are needed and one block is not enough, a block's
    intermediate values are computed a second time in the backward pass
    instead of being kept. A text is never split: one row is computed even if
    it alone exceeds the budget.

    Args:
        score: Called as ``score(*rows, *others)``. Returns the scores of these
            rows with all videos, shape (rows, V).
        texts: Tensors of B rows each, one row per text.
        *others: Passed whole to each call: the videos, the parameters.
        row_bytes: Memory that the intermediate values of one text take.
        block_bytes: Memory that those of one block may take.
        random: Whether ``score`` draws random numbers (dropout), which are
            then to be the same the second time.

    Returns:
        Shape (B, V).
    """
    rows = max(1, block_bytes // max(1, row_bytes))
    if texts[0].shape[0] <= rows:
        return score(*texts, *others)
    needs_grad = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (*texts, *others)
    )
    blocks = zip(*(tensor.split(rows) for tensor in texts), strict=True)
    if not needs_grad:
        return torch.cat([score(*block, *others) for block in blocks])
    return torch.cat(
        [
            checkpoint(
                score,
                *block,
                *others,
                use_reentrant=False,
                preserve_rng_state=random,
            )
            for block in blocks
        ]
    )


class Bag(NamedTuple):
    """Tokens of one side.

    Attributes:
        tokens: Shape (N, S, D), in any floating point type; padding may hold
            anything.
        mask: Shape (N, S), bool.
        weight: Shape (N, S), 0 at padding, else with sum 1, in the type to
            compute in.
    """

    tokens: Tensor
    mask: Tensor
    weight: Tensor


def _bag(features: TokenFeatures, dtype: torch.dtype) -> Bag:
    """With weights of a mean over real tokens: sum 1, or 0 without any."""
    if features.weight is None:
        weight = features.mask.to(dtype)
    else:
        weight = features.weight.to(dtype).masked_fill(~features.mask, 0.0)
    total = weight.sum(-1, keepdim=True).clamp_min(torch.finfo(dtype).tiny)
    return Bag(features.tokens, features.mask, weight / total)


def check_kernel(kernel: str) -> str:
    """Check the option ``kernel`` of a head.

    Raises:
        ValueError: There is no such kernel.
        SetupError: It would run on this machine, but Triton is missing.
    """
    if kernel not in KERNELS:
        raise ValueError(f'kernel must be one of {KERNELS}, not {kernel!r}')
    missing = kernel == 'triton' and find_spec('triton') is None
    if missing and torch.cuda.is_available():
        raise SetupError(
            "kernel='triton' needs the package triton, which is not "
            "installed: install it, or set kernel='torch' in the head"
        )
    return kernel


def _check_triton_input(text: Bag, video: Bag) -> None:
    from mmtvr.ops.triton_similarity import MAX_TOKENS

    tokens = max(text.mask.shape[1], video.mask.shape[1])
    if text.weight.requires_grad or video.weight.requires_grad:
        problem = 'weights are learned'
    elif text.weight.dtype != torch.float32:
        problem = f'they are {text.weight.dtype}'
    elif text.tokens.dtype != video.tokens.dtype:
        problem = f'they are {text.tokens.dtype} and {video.tokens.dtype}'
    elif tokens > MAX_TOKENS:
        problem = f'there are {tokens} tokens, more than {MAX_TOKENS}'
    else:
        return
    raise SetupError(
        f"kernel='triton' cannot compare these features ({problem}): set "
        "kernel='torch' in the head"
    )


def max_similarity(
    text: Bag,
    video: Bag,
    neighbours: Neighbours | None = None,
    block_bytes: int = BLOCK_BYTES,
    kernel: str = 'torch',
) -> tuple[Tensor, Tensor]:
    r"""Compare all words with all frames, in blocks of texts.

    With dot products s of words p and frames q, weights a and b, and the
    neighbour y of frame z with factor g,

    .. math:: \sum_p a_p (s_{pz} + g_z s_{py(z)}), \; z = \arg\max_q s_{pq},
        \quad \text{and} \quad \sum_q b_q \max_p s_{pq}.

    No product is computed twice. Backward rests on the numbers of the best
    frames and words, a byte each, on the scores of the second frames, and
    where weights want a gradient on the maxima, never on all products. Of
    equal products one counts.

    Args:
        text: B texts of L words.
        video: V videos of T frames.
        neighbours: Second frames, or None.
        block_bytes: Memory in bytes that the products of a block may take. A
            text is never split, even if it alone exceeds the budget. Not read
            by the Triton kernel, whose products stay in registers.
        kernel: See :func:`token_similarity`.

    Returns:
        Both means, each (B, V), large and negative where the side that is
        searched has no real token. Differentiable once.
    """
    factor, index = neighbours or (None, None)
    if kernel == 'triton' and text.tokens.is_cuda:
        _check_triton_input(text, video)
        from mmtvr.ops.triton_similarity import TritonMaxSimilarity

        return TritonMaxSimilarity.apply(
            *text, *video, factor, index, torch.is_grad_enabled()
        )
    text, video = (
        side._replace(tokens=side.tokens.to(side.weight.dtype))
        for side in (text, video)
    )
    wanting = (text.tokens, text.weight, video.tokens, video.weight, factor)
    if torch.is_grad_enabled() and any(
        each is not None and each.requires_grad for each in wanting
    ):
        return BlockedMaxSimilarity.apply(
            *text, *video, factor, index, block_bytes
        )
    words = mark_padding(text.tokens, text.mask, 0)
    frames = tokens_first(video.tokens, video.mask)
    frame_weight, factor, index = transposed(video.weight, factor, index)
    of_words = frames.new_empty(len(text.mask), len(video.mask))
    of_frames = torch.empty_like(of_words)
    for rows, product in products(words, frames, block_bytes):
        if index is None:
            best = product.amax(2)
        else:
            best, *_ = best_frames(product, factor, index)
        of_words[rows] = weighted_sum(text.weight[rows, :, None], best)
        of_frames[rows] = weighted_sum(frame_weight, product.amax(1))
    return of_words, of_frames


# What the padding of a side adds to a product: below every product of unit
# vectors, yet finite when it is summed.
FAR_BELOW = -1e15


def mark_padding(tokens: Tensor, mask: Tensor, side: int) -> Tensor:
    """Shape (..., D + 2): two columns make padding lose every comparison.

    One holds what padding adds to a product, the other the 1 for what the
    padding of the other side adds. Real tokens add exactly 0.
    """
    width = tokens.shape[-1]
    result = tokens.new_ones(*mask.shape, width + 2)
    result[..., :width] = torch.where(mask[..., None], tokens, 0.0)
    result[..., width + side] = torch.where(mask, 0.0, FAR_BELOW)
    return result


def tokens_first(tokens: Tensor, mask: Tensor) -> Tensor:
    """Frames, shape (T, V, D + 2)."""
    return mark_padding(tokens.transpose(0, 1), mask.mT, 1)


def transposed(*tables: Tensor | None) -> list[Tensor | None]:
    """Tables (V, T) as (T, V), for products with frames first."""
    return [None if each is None else each.mT.contiguous() for each in tables]


def text_rows(
    words: Tensor, frames: Tensor, block_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    """Rows of texts, and memory (b, L, T, V) that all blocks share."""
    texts, length, _ = words.shape
    row = length, *frames.shape[:2]
    size = max(1, block_bytes // max(1, prod(row) * words.element_size()))
    memory = words.new_empty(min(size, texts), *row)
    for start in range(0, texts, size):
        rows = slice(start, min(start + size, texts))
        yield rows, memory[: rows.stop - start]


def products(
    words: Tensor, frames: Tensor, block_bytes: int
) -> Iterator[tuple[slice, Tensor]]:
    """Dot products, (b, L, T, V), of one block of texts after the other."""
    right = frames.flatten(0, 1).mT
    for rows, memory in text_rows(words, frames, block_bytes):
        left = words[rows].flatten(0, 1)
        torch.mm(left, right, out=memory.flatten(2).flatten(0, 1))
        yield rows, memory


def best_frames(
    product: Tensor, factor: Tensor | None, index: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Score of each word, number of its best frame, score of the second."""
    best = product.amax(2)
    frame = first_equal(product, best, 2)
    if index is None or factor is None:
        return best, frame, None
    cell = cells(frame)
    second = product.take(places(cells(index.take(cell)), product))
    return best.addcmul_(factor.take(cell), second), frame, second


def first_equal(product: Tensor, best: Tensor, dim: int) -> Tensor:
    """Where the maxima are; several times as fast as ``max(dim)`` on CPUs.

    A NaN equals nothing, not even itself: there it is the last place.
    """
    equal = product == best.unsqueeze(dim)
    size = product.shape[dim]
    dtype = index_type(size)
    one_byte = dtype == torch.uint8
    equal = equal.view(dtype) if one_byte else equal.to(dtype)
    shape = [1] * product.dim()
    shape[dim] = size
    rank = torch.arange(size, 0, -1, dtype=dtype, device=equal.device)
    place = size - equal.mul_(rank.view(shape)).amax(dim)
    return place.clamp_(max=size - 1)


def cells(frame: Tensor) -> Tensor:
    """Places of frames (b, L, V) of each video in a table (T, V)."""
    videos = frame.shape[2]
    column = torch.arange(videos, device=frame.device)
    return frame.long().mul_(videos).add_(column)


def places(cell: Tensor, product: Tensor) -> Tensor:
    """Places of cells (b, L, V) in products (b, L, T, V)."""
    first = torch.arange(
        0, product.numel(), product[0, 0].numel(), device=cell.device
    )
    return cell + first.view(*cell.shape[:2], 1)


def add_at(target: Tensor, place: Tensor, value: Tensor) -> None:
    """Add values at places of a contiguous target, equal places too."""
    target.view(-1).scatter_add_(0, place.view(-1), value.view(-1))


def weighted_sum(weight: Tensor, best: Tensor) -> Tensor:
    """Sum over tokens, (b, S, V) to (b, V)."""
    return (weight * best).sum(1)


def index_type(size: int) -> torch.dtype:
    """The smallest type that holds the number of a token."""
    return torch.uint8 if size < 256 else torch.int16


class BlockedMaxSimilarity(torch.autograd.Function):
    """Both means of :func:`max_similarity`, with a backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        words: Tensor,
        word_mask: Tensor,
        word_weight: Tensor,
        frames: Tensor,
        frame_mask: Tensor,
        frame_weight: Tensor,
        factor: Tensor | None,
        index: Tensor | None,
        block_bytes: int,
    ) -> tuple[Tensor, Tensor]:
        """Both means, (B, V); arguments as in Bag and Neighbours."""
        words = mark_padding(words, word_mask, 0)
        frames = tokens_first(frames, frame_mask)
        frame_weight, factor, index = transposed(frame_weight, factor, index)
        (texts, length), (size, videos) = word_mask.shape, frames.shape[:2]
        per_word, per_frame = (texts, length, videos), (texts, size, videos)
        best_frame = frames.new_empty(per_word, dtype=index_type(size))
        best_word = frames.new_empty(per_frame, dtype=index_type(length))
        second = None if index is None else frames.new_empty(per_word)
        needs = ctx.needs_input_grad
        frame_max = frames.new_empty(per_word) if needs[2] else None
        word_max = frames.new_empty(per_frame) if needs[5] else None
        of_words = frames.new_empty(texts, videos)
        of_frames = torch.empty_like(of_words)
        for rows, product in products(words, frames, block_bytes):
            best, best_frame[rows], other = best_frames(product, factor, index)
            of_words[rows] = weighted_sum(word_weight[rows, :, None], best)
            if second is not None:
                second[rows] = other
            if frame_max is not None:
                frame_max[rows] = best
            best = product.amax(1)
            best_word[rows] = first_equal(product, best, 1)
            of_frames[rows] = weighted_sum(frame_weight, best)
            if word_max is not None:
                word_max[rows] = best
        ctx.block_bytes = block_bytes
        tokens = words, word_weight, frames, frame_weight
        found = best_frame, best_word, second, frame_max, word_max
        ctx.save_for_backward(*tokens, factor, index, *found)
        return of_words, of_frames

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_words: Tensor, grad_frames: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Gradients of tokens, weights and factor."""
        words, word_weight, frames, frame_weight, *saved = ctx.saved_tensors
        factor, index, best_frame, best_word, *saved = saved
        second, frame_max, word_max = saved
        width = words.shape[2] - 2
        to_words = words.new_empty(*words.shape[:2], width)
        to_frames = frames.new_zeros(*frames.shape[:2], width)
        to_factor = None if factor is None else torch.zeros_like(factor)
        for rows, slope in text_rows(words, frames, ctx.block_bytes):
            per_word = word_weight[rows, :, None] * grad_words[rows, None]
            per_frame = grad_frames[rows, None] * frame_weight
            cell = cells(best_frame[rows])
            slope.zero_().scatter_(
                1, best_word[rows].long()[:, None], per_frame[:, None]
            )
            add_at(slope, places(cell, slope), per_word)
            if factor is not None:
                add_at(to_factor, cell, per_word * second[rows])
                per_word *= factor.take(cell)
                other = cells(index.take(cell))
                add_at(slope, places(other, slope), per_word)
            slope = slope.flatten(2).flatten(0, 1)
            torch.mm(
                slope,
                frames.flatten(0, 1)[:, :width],
                out=to_words[rows].flatten(0, 1),
            )
            to_frames.flatten(0, 1).addmm_(
                slope.mT, words[rows].flatten(0, 1)[:, :width]
            )
        to_word_weight = to_frame_weight = None
        if frame_max is not None:
            to_word_weight = torch.einsum('blv,bv->bl', frame_max, grad_words)
        if word_max is not None:
            to_frame_weight = torch.einsum('btv,bv->vt', word_max, grad_frames)
        return (
            to_words,
            None,
            to_word_weight,
            to_frames.transpose(0, 1),
            None,
            to_frame_weight,
            None if to_factor is None else to_factor.mT,
            None,
            None,
        )
