"""From captions to word pieces."""

from collections.abc import Iterable, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from transformers import AutoTokenizer

from mmtvr.datasets.span_table import Span
from mmtvr.errors import SetupError
from mmtvr.pretrained import load_pretrained
from mmtvr.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TokenizeText(BaseTransform):
    """Cut captions into word pieces with the tokenizer of a CLIP folder.

    Longer captions are cut, their closing special token (EOT) kept; what was
    cut is counted.

    **Required Keys:**

    - text: a caption, or the list of n captions
    - keyword_spans (optional): per caption, a list of character spans
      (start, end) of its key words

    **Added Keys:**

    - tokens: (n, L) int64, ids of word pieces, padded to L = ``max_words``
    - token_mask: (n, L) bool, True at word pieces, SOT and EOT
    - token_weight: (n, L) float32, only with keyword_spans:
      ``keyword_weight`` on every piece of a key word, 1 on the other pieces,
      SOT and EOT, 0 on padding
    - cut_pieces: (n,) int64, number of word pieces that were cut

    Args:
        tokenizer (str): Hub name or local folder, see
            :func:`mmtvr.pretrained.load_pretrained`.
        max_words (int): L, including SOT and EOT.
        keyword_weight (float): Weight of a key word.

    Raises:
        SetupError: If the tokenizer cannot be loaded, or takes fewer than
            ``max_words`` pieces.
    """

    def __init__(
        self,
        tokenizer: str = 'openai/clip-vit-base-patch32',
        max_words: int = 32,
        keyword_weight: float = 2.0,
    ) -> None:
        if max_words < 2:
            raise ValueError(
                f'max_words counts SOT and EOT, it must be >= 2: {max_words}'
            )
        self.name = tokenizer
        self.max_words = max_words
        self.keyword_weight = keyword_weight
        self.tokenizer = load_pretrained(AutoTokenizer, tokenizer)
        if not self.tokenizer.is_fast:
            raise SetupError(
                f'The tokenizer {tokenizer} tells no character offsets; '
                'a fast one is needed (tokenizer.json in its folder).'
            )
        if self.tokenizer.pad_token_id is None:
            raise SetupError(
                f'The tokenizer {tokenizer} has no padding token: add '
                '"pad_token" to tokenizer_config.json in its folder.'
            )
        if max_words > self.tokenizer.model_max_length:
            raise SetupError(
                f'max_words={max_words}, but the text encoder of {tokenizer} '
                f'has {self.tokenizer.model_max_length} positions: set '
                'max_words to at most that in TokenizeText.'
            )

    def transform(self, results: dict) -> dict:
        """Tokenize the caption or captions of one sample.

        Args:
            results: Sample with the required keys.

        Returns:
            The sample with the added keys.
        """
        text = results['text']
        captions = [text] if isinstance(text, str) else text
        shape = (len(captions), self.max_words)
        tokens = np.full(shape, self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=bool)
        cut = np.zeros(len(captions), dtype=np.int64)
        offsets = []
        for row, caption in enumerate(captions):
            ids, places = self._encode(caption)
            cut[row] = max(len(ids) - self.max_words, 0)
            tokens[row, : len(ids)] = self._shorten(ids)
            mask[row, : len(ids)] = True
            offsets.append(self._shorten(places))
        added = dict(tokens=tokens, token_mask=mask, cut_pieces=cut)
        if 'keyword_spans' in results:
            added['token_weight'] = self._weigh(
                mask, offsets, results['keyword_spans']
            )
        return {**results, **added}

    def _encode(self, caption: str) -> tuple[list[int], list[Span]]:
        pieces = self.tokenizer(
            caption,
            truncation=False,
            padding=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        return pieces['input_ids'], pieces['offset_mapping']

    def _shorten(self, pieces: list) -> list:
        if len(pieces) <= self.max_words:
            return pieces
        return [*pieces[: self.max_words - 1], pieces[-1]]

    def _weigh(
        self,
        mask: np.ndarray,
        offsets: Sequence[Sequence[Span]],
        keyword_spans: Sequence[Iterable[Span]],
    ) -> np.ndarray:
        """Map character spans to pieces: a piece inside a span is a key.

        Special tokens have the empty offset (0, 0), which meets no span.
        """
        weight = mask.astype(np.float32)
        for row, (pieces, spans) in enumerate(
            zip(offsets, keyword_spans, strict=True)
        ):
            ends = np.array(pieces).reshape(-1, 2)
            for start, end in spans:
                inside = (ends[:, 0] < end) & (ends[:, 1] > start)
                inside &= ends[:, 0] < ends[:, 1]
                weight[row, : len(ends)][inside] = self.keyword_weight
        return weight

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(tokenizer={self.name!r}, '
            f'max_words={self.max_words}, '
            f'keyword_weight={self.keyword_weight})'
        )
