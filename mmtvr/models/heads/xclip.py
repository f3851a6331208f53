"""Four granularities, each by attention over similarities: X-CLIP."""

import torch
from torch import Tensor, finfo, nn

from mmtvr.errors import SetupError
from mmtvr.ops import autocast_off, full_precision, text_blocks
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


class SimilarityAttention(nn.Module):
    r"""Pool similarities by a softmax over themselves.

    :math:`\sum_k (M^\top \mathrm{softmax}(s / \tau))_k s_k`: near a maximum
    for a small temperature, yet with a gradient to all; M, learned, starts
    as the identity.

    Args:
        size: Largest number of similarities to pool.
        temperature: The temperature, in cosine.
    """

    def __init__(self, size: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.mix = nn.Parameter(torch.eye(size))

    def forward(self, sim: Tensor, mask: Tensor) -> Tensor:
        """Pool the last axis; 0 where all is padding.

        Args:
            sim: Shape (..., S), finite, at padding too.
            mask: Bool, shape (..., S) or one that broadcasts to it.
        """
        size = sim.shape[-1]
        if size > len(self.mix):
            raise SetupError(
                f'XCLIPHead got {size} tokens, but its parameters are for at '
                f'most {len(self.mix)}. Set max_words and max_frames of the '
                'head to those of TokenizeText and LoadVideoFrames.'
            )
        logits = sim / self.temperature
        logits = logits.masked_fill(~mask, finfo(sim.dtype).min)
        attention = logits.softmax(-1).masked_fill(~mask, 0.0)
        mixed = attention @ self.mix[:size, :size].to(sim.dtype)
        return (mixed * sim.masked_fill(~mask, 0.0)).sum(-1)


@MODELS.register_module()
class XCLIPHead(nn.Module):
    """Multi-grained similarity of X-CLIP (arXiv:2207.07285).

    The mean of four scores: video with sentence, video with words, sentence
    with frames, frames with words. Each set of similarities is pooled by
    :class:`SimilarityAttention`; the two ends of the scale, video-sentence
    and frame-word, have a learned bilinear form that starts as the identity.
    Unlike the original, padding is neither attended to nor summed. Textual
    attention is not read.

    Args:
        embed_dims: Width D of the tokens.
        max_words: Largest number of words, that of ``TokenizeText``.
        max_frames: Largest number of frames, that of ``LoadVideoFrames``.
        temperature: Temperature of the attention, in cosine.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        max_words: int = 32,
        max_frames: int = 12,
        temperature: float = 0.01,
        block_bytes: int = 2**28,
    ) -> None:
        super().__init__()
        self.block_bytes = block_bytes
        self.global_form = nn.Parameter(torch.eye(embed_dims))
        self.local_form = nn.Parameter(torch.eye(embed_dims))
        self.video_words = SimilarityAttention(max_words, temperature)
        self.sentence_frames = SimilarityAttention(max_frames, temperature)
        self.words_of_frame = SimilarityAttention(max_words, temperature)
        self.frames_of_word = SimilarityAttention(max_frames, temperature)
        self.frames_last = SimilarityAttention(max_frames, temperature)
        self.words_last = SimilarityAttention(max_words, temperature)

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos.

        Returns:
            Shape (B, V), rows are texts, in [-1, 1] at initialisation,
            float32 or wider.

        Raises:
            SetupError: If there are more words or frames than configured.
        """
        with autocast_off(text.tokens):
            text, video = full_precision(text, video)
            words = text.tokens.masked_fill(~text.mask[..., None], 0.0)
            frames = video.tokens.masked_fill(~video.mask[..., None], 0.0)
            # Twice: the fine-grained cosines are held in two layouts.
            numbers = 2 * words.shape[1] * video.mask.numel()
            return text_blocks(
                self._score,
                (words, text.mask, text.pooled),
                frames,
                video.mask,
                video.pooled,
                row_bytes=numbers * words.element_size(),
                block_bytes=self.block_bytes,
            )

    def _score(
        self,
        words: Tensor,
        word_mask: Tensor,
        sentence: Tensor,
        frames: Tensor,
        frame_mask: Tensor,
        whole_video: Tensor,
    ) -> Tensor:
        """Scores (b, V) of a block of b texts.

        Shapes: words (b, L, D), sentence (b, D), frames (V, T, D),
        whole_video (V, D), and masks of words and frames.
        """
        real_words = word_mask[:, None]
        video_sentence = sentence @ self.global_form @ whole_video.mT
        video_words = self.video_words(
            torch.einsum('bpd,vd->bvp', words, whole_video), real_words
        )
        sentence_frames = self.sentence_frames(
            torch.einsum('bd,vqd->bvq', sentence, frames), frame_mask
        )
        cosine = torch.einsum('bpd,vqd->bvpq', words @ self.local_form, frames)
        of_frame = self.words_of_frame(cosine.mT, real_words[:, :, None])
        of_word = self.frames_of_word(cosine, frame_mask[:, None])
        frame_words = (
            self.frames_last(of_frame, frame_mask)
            + self.words_last(of_word, real_words)
        ) / 2
        return (
            video_sentence + video_words + sentence_frames + frame_words
        ) / 4
