"""The numbers behind one score: words, frames and their similarities."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from torch import Tensor, nn

from mmtvr.errors import SetupError
from mmtvr.ops import autocast_off, full_precision
from mmtvr.structures import TokenFeatures

PADDING = '[padding]'


@dataclass(frozen=True)
class Scene:
    """A video as a plot shows it.

    Attributes:
        name: What it is called.
        frames: Shape (T, H, W, 3), uint8, RGB, as the model sees them.
        times: T times in seconds, or empty if they are not known.
        score: Its similarity with the caption.
    """

    name: str
    frames: np.ndarray
    times: Sequence[float] = ()
    score: float = 0.0


class Masking(NamedTuple):
    """How TPM-CL rates S tokens of one side, and which it would mask.

    Attributes:
        importance: Shape (S,), not negative, sum 1.
        removed: Shape (S,), bool, the tokens that the partial version lacks.
    """

    importance: np.ndarray
    removed: np.ndarray


@dataclass(frozen=True)
class Explanation:
    """Why a caption and a video have their score.

    Only real tokens: W word pieces and T frames. Where a frame has several
    tokens, its regions, the cosines are those of the best, importance is
    added up, and a frame is removed if all of it is.

    Attributes:
        words: The W word pieces as the caption writes them, see
            ``TokenizeText.name_pieces``.
        weights: Shape (W,), textual attention: 1, more for a key word.
        cosines: Shape (W, T), cosine of each word piece with each frame.
        sentence: Shape (T,), cosine of the whole caption with each frame.
        score: The similarity that the model ranks by.
        parts: What adds up to the score, by name, in the order in which it
            is shown. A single ``similarity`` if the head has no parts.
        word_masking: What TPM-CL would mask of the words; None without it.
        frame_masking: Likewise of the frames.
    """

    words: tuple[str, ...]
    weights: np.ndarray
    cosines: np.ndarray
    sentence: np.ndarray
    score: float
    parts: Mapping[str, float]
    word_masking: Masking | None = None
    frame_masking: Masking | None = None

    @property
    def shares(self) -> np.ndarray:
        """Part of each word in the weighted mean over the best frames, (W,).

        They add up to that mean.
        """
        best = self.cosines.max(1, initial=-1.0)
        return best * self.weights / max(self.weights.sum(), 1e-12)

    @property
    def best_frames(self) -> np.ndarray:
        """Number of the frame that each word looks most like, (W,)."""
        return self.cosines.argmax(1)


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


@torch.no_grad()
def explain_pair(
    model: Any,
    text: TokenFeatures,
    video: TokenFeatures,
    words: Sequence[str],
) -> Explanation:
    """Decompose the similarity of a caption and a video.

    Args:
        model: Has ``head``, and ``partial_loss`` with TPM-CL's ``select`` or
            without it.
        text: One caption.
        video: One video.
        words: Names of the caption's real tokens, without those that query
            expansion adds.

    Returns:
        The numbers, on the CPU.

    Raises:
        ValueError: If there are more or fewer names than real tokens.
    """
    real_words, real_frames = text.mask[0], video.mask[0]
    encoder = getattr(model, 'text_encoder', None)
    if getattr(encoder, 'query_expansion', False):
        words = [*words, *[PADDING] * (int(real_words.sum()) - len(words))]
    if len(words) != int(real_words.sum()):
        raise ValueError(
            f'{len(words)} names for {int(real_words.sum())} word pieces'
        )
    with autocast_off(text.tokens):
        text, video = full_precision(text, video)
        score = model.head(text, video)
        tokens = text.tokens[0][real_words]
        encoder = getattr(model, 'frame_encoder', None)
        regions = getattr(encoder, 'tokens_per_frame', 1)
        frames = video.tokens[0][real_frames]
        parts = {'similarity': score}
        if hasattr(model.head, 'parts'):
            parts = model.head.parts(text, video)
        selections = {}
        if hasattr(model.partial_loss, 'select'):
            selections = model.partial_loss.select(text, video)
        weight = text.weight
        return Explanation(
            words=tuple(words),
            weights=_array(
                tokens.new_ones(len(tokens))
                if weight is None
                else weight[0][real_words]
            ),
            cosines=_array(_best_region(tokens @ frames.T, regions)),
            sentence=_array(_best_region(frames @ text.pooled[0], regions)),
            score=score.item(),
            parts={name: part.item() for name, part in parts.items()},
            word_masking=_masking(selections.get('words'), real_words),
            frame_masking=_masking(
                selections.get('frames'), real_frames, regions
            ),
        )


class ExplainedSample(NamedTuple):
    """A caption, a video, and why they have their score."""

    text: str
    scene: Scene
    explanation: Explanation


@torch.no_grad()
def explain_sample(
    model: nn.Module, sample: dict, name_pieces: PieceNames, caption: int = 0
) -> ExplainedSample:
    """Encode a sample and explain its score.

    Args:
        model: The retriever, not wrapped, in evaluation mode.
        sample: What a pipeline that ends in ``PackTextVideo`` returns.
        name_pieces: See :func:`find_piece_names`.
        caption: Which caption of the sample.

    Returns:
        What :mod:`mmtvr.visualization.explanation` plots.
    """
    facts = sample['data_samples']
    batch = model.data_preprocessor(pseudo_collate([sample]), False)
    text, video = model(**batch, mode='tensor')
    row = torch.tensor([caption], device=text.mask.device)
    words = facts.text[caption]
    found = model.explain(text.select(row), video, name_pieces(words))
    count = found.cosines.shape[1]
    frames = sample['inputs']['frames'][:count].numpy().transpose(0, 2, 3, 1)
    times = facts.get('frame_times')
    scene = Scene(
        name=str(facts.get('filename', '')).rpartition('/')[2],
        frames=frames,
        times=() if times is None else tuple(times[:count]),
        score=found.score,
    )
    return ExplainedSample(words, scene, found)


def _best_region(cosines: Tensor, regions: int) -> Tensor:
    """From (..., T * R) to (..., T)."""
    return cosines.unflatten(-1, (-1, regions)).amax(-1)


def _masking(
    selection: tuple[Tensor, Tensor] | None, real: Tensor, regions: int = 1
) -> Masking | None:
    if selection is None:
        return None
    importance, keep = (
        each[0][real].unflatten(0, (-1, regions)) for each in selection
    )
    return Masking(_array(importance.sum(1)), _array(~keep.any(1)))


def _array(values: Tensor) -> Any:
    return values.cpu().numpy()
