"""What a retriever can tell about one of its scores."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmtvr.explanation import Explanation, Masking
from mmtvr.ops import autocast_off, full_precision
from mmtvr.structures import TokenFeatures


@torch.no_grad()
def explain_pair(
    model: Any,
    text: TokenFeatures,
    video: TokenFeatures,
    words: Sequence[str],
) -> Explanation:
    """Take apart the similarity of a caption and a video.

    Args:
        model: Has ``head``, and ``partial_loss`` with TPM-CL's ``select`` or
            without it.
        text: One caption.
        video: One video.
        words: Names of the caption's real tokens.

    Returns:
        The numbers, on the CPU.

    Raises:
        ValueError: If there are more or fewer names than real tokens.
    """
    real_words, real_frames = text.mask[0], video.mask[0]
    if len(words) != int(real_words.sum()):
        raise ValueError(
            f'{len(words)} names for {int(real_words.sum())} word pieces'
        )
    with autocast_off(text.tokens):
        text, video = full_precision(text, video)
        score = model.head(text, video)
        tokens = text.tokens[0][real_words]
        frames = video.tokens[0][real_frames]
        selections = _select(model.partial_loss, text, video)
        weight = text.weight
        return Explanation(
            words=tuple(words),
            weights=_array(
                tokens.new_ones(len(tokens))
                if weight is None
                else weight[0][real_words]
            ),
            cosines=_array(tokens @ frames.T),
            sentence=_array(frames @ text.pooled[0]),
            score=score.item(),
            parts=_parts(model.head, text, video, score),
            word_masking=_masking(selections.get('words'), real_words),
            frame_masking=_masking(selections.get('frames'), real_frames),
        )


def _parts(
    head: Any, text: TokenFeatures, video: TokenFeatures, score: Tensor
) -> dict[str, float]:
    if not hasattr(head, 'parts'):
        return {'similarity': score.item()}
    return {
        name: part.item() for name, part in head.parts(text, video).items()
    }


def _select(
    loss: Any, text: TokenFeatures, video: TokenFeatures
) -> dict[str, tuple[Tensor, Tensor]]:
    return loss.select(text, video) if hasattr(loss, 'select') else {}


def _masking(
    selection: tuple[Tensor, Tensor] | None, real: Tensor
) -> Masking | None:
    if selection is None:
        return None
    importance, keep = selection
    return Masking(_array(importance[0][real]), _array(~keep[0][real]))


def _array(values: Tensor) -> Any:
    return values.cpu().numpy()
