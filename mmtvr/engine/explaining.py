"""Explain one sample of a pipeline."""

from typing import NamedTuple

import torch
from mmengine.dataset import pseudo_collate
from torch import nn

from mmtvr.explanation import Explanation, PieceNames, Scene


class ExplainedSample(NamedTuple):
    """A caption, a video, and why they have their score.

    Attributes:
        text: The caption.
        scene: The video.
        explanation: The numbers.
    """

    text: str
    scene: Scene
    explanation: Explanation


@torch.no_grad()
def explain_sample(
    model: nn.Module, sample: dict, name_pieces: PieceNames, caption: int = 0
) -> ExplainedSample:
    """Encode a sample and explain its score.

    Args:
        model: The bare retriever, in evaluation mode.
        sample: What a pipeline that ends in ``PackTextVideo`` returns.
        name_pieces: See :func:`mmtvr.explanation.find_piece_names`.
        caption: Which caption of the sample.

    Returns:
        What can be drawn, see :mod:`mmtvr.explanation.picture`.
    """
    about = sample['data_samples']
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    text, video = model(**batch, mode='tensor')
    row = torch.tensor([caption], device=text.mask.device)
    words = about.text[caption]
    found = model.explain(text.select(row), video, name_pieces(words))
    count = found.cosines.shape[1]
    frames = sample['inputs']['frames'][:count].numpy().transpose(0, 2, 3, 1)
    times = about.get('frame_times')
    scene = Scene(
        name=str(about.get('filename', '')).rpartition('/')[2],
        frames=frames,
        times=() if times is None else tuple(times[:count]),
        score=found.score,
    )
    return ExplainedSample(words, scene, found)
