"""From captions to word pieces."""

import itertools
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log

from mmtvr.datasets.input_files import brief, has_word
from mmtvr.datasets.keywords import Span
from mmtvr.errors import SetupError
from mmtvr.pretrained import load_tokenizer, load_word_pieces
from mmtvr.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SENTENCE_END = re.compile(r'(?<=[.!?])\s+')
Piece = tuple[int, Span]
# Captions that are looked at before the first sample: 0.5 s.
MAX_LOOKED_AT = 10_000
MAX_SHOWN = 5


class TextReading(NamedTuple):
    """What of a text does not reach a model.

    Attributes:
        unknown: Words that the tokenizer has no piece for. The model reads
            one and the same piece in place of each.
        cut: The end of the text, which is more than the model takes.
        is_unknown: Whether it knows no word at all: the text is then read
            like any other of that kind.
    """

    unknown: tuple[str, ...] = ()
    cut: str = ''
    is_unknown: bool = False

    def describe(self) -> str:
        """The same in a sentence or two; empty where all is read."""
        notes = []
        if self.is_unknown:
            notes.append('the model knows no word of it: the order is chance')
        elif self.unknown:
            notes.append(f'words not known: {", ".join(self.unknown)}')
        if self.cut:
            notes.append(f'too long, cut off from {brief(self.cut)}')
        return '; '.join(notes)


@TRANSFORMS.register_module()
class TokenizeText(BaseTransform):
    """Cut captions into word pieces with the tokenizer of a model's folder.

    What is longer than ``max_words`` pieces is cut, its closing special token
    (EOT) kept, and counted. With ``long_text='sentences'`` such a caption is
    taken apart at its sentence ends instead, and what is longer still goes on
    in a further part; each part becomes a row with its own SOT and EOT, up to
    ``max_sentences`` rows, and only what follows those is cut.

    **Required Keys:**

    - text: a caption, or the list of n captions
    - keyword_spans (optional): per caption, a list of character spans
      (start, end) of its key words

    **Added Keys** (L = ``max_words``; with ``long_text='sentences'`` (n, K, L)
    in place of (n, L), K = ``max_sentences``, rows that are not needed all
    padding):

    - tokens: (n, L) int64, ids of word pieces, padded to L
    - token_mask: (n, L) bool, True at word pieces, SOT and EOT
    - token_weight: (n, L) float32, only with keyword_spans:
      ``keyword_weight`` on every piece of a key word, 1 on the other pieces,
      SOT and EOT, 0 on padding
    - cut_pieces: (n,) int64, number of word pieces that were cut

    Args:
        tokenizer (str): Hub name or local folder, see
            :func:`mmtvr.pretrained.load_word_pieces`.
        max_words (int): L, including SOT and EOT.
        keyword_weight (float): Weight of a key word.
        long_text (str): What becomes of captions of more than L pieces:
            ``'truncate'`` or ``'sentences'``.
        max_sentences (int): K, only for ``'sentences'``.
        lowercase (bool): Whether to put captions in lower case, where the
            tokenizer does not: SigLIP 2 was trained so, but its files name
            Gemma's tokenizer.

    Raises:
        SetupError: If the tokenizer cannot be loaded, or takes fewer than
            ``max_words`` pieces.
    """

    #: Which side of a sample it reads.
    reads = 'text'

    def __init__(
        self,
        tokenizer: str = 'openai/clip-vit-base-patch32',
        max_words: int = 32,
        keyword_weight: float = 2.0,
        long_text: Literal['truncate', 'sentences'] = 'truncate',
        max_sentences: int = 8,
        lowercase: bool = False,
    ) -> None:
        if max_words < 3:
            raise ValueError(
                f'max_words counts SOT and EOT, it must be >= 3: {max_words}'
            )
        if long_text not in ('truncate', 'sentences'):
            raise ValueError(
                "long_text must be 'truncate' or 'sentences', got "
                f'{long_text!r}'
            )
        if max_sentences < 1:
            raise ValueError(
                f'max_sentences must be positive, got {max_sentences}'
            )
        self.name = tokenizer
        self.max_words = max_words
        self.keyword_weight = keyword_weight
        self.long_text = long_text
        self.max_rows = 1 if long_text == 'truncate' else max_sentences
        self.word_pieces = load_word_pieces(tokenizer)
        if self.word_pieces.pad is None:
            raise SetupError(
                f'The tokenizer {tokenizer} has no padding token: add '
                '"pad_token" to tokenizer_config.json in its folder.'
            )
        if max_words > self.word_pieces.max_length:
            raise SetupError(
                f'max_words={max_words}, but the text encoder of {tokenizer} '
                f'has {self.word_pieces.max_length} positions: set '
                'max_words to at most that in TokenizeText.'
            )
        if lowercase:
            from tokenizers import normalizers

            # Unlike str.lower it keeps offsets into the caption as written.
            backend = self.word_pieces.backend
            steps = [normalizers.Lowercase(), backend.normalizer]
            backend.normalizer = normalizers.Sequence(
                [step for step in steps if step is not None]
            )
        # CLIP has one special token at each end, SigLIP only at the end.
        special = self.word_pieces.backend.encode('a').special_tokens_mask
        self._lead = special.index(0)
        self._tail = special[::-1].index(0)
        self._room = max_words - self._lead - self._tail

    @property
    def tokenizer(self) -> 'PreTrainedTokenizerBase':
        """The tokenizer as transformers loads it; ``word_pieces`` is used."""
        warnings.warn(
            'TokenizeText.tokenizer is deprecated, use word_pieces or '
            'mmtvr.pretrained.load_tokenizer',
            DeprecationWarning,
            stacklevel=2,
        )
        return load_tokenizer(self.name)

    def transform(self, results: dict) -> dict:
        """Tokenize the caption or captions of one sample."""
        text = results['text']
        captions = [text] if isinstance(text, str) else text
        shape = (len(captions), self.max_rows, self.max_words)
        tokens = np.full(shape, self.word_pieces.pad, dtype=np.int64)
        mask = np.zeros(shape, dtype=bool)
        offsets = np.zeros((*shape, 2), dtype=np.int64)
        cut = np.zeros(len(captions), dtype=np.int64)
        for number, caption in enumerate(captions):
            pieces = self._encode(caption)
            rows = self._break(caption, pieces)
            special = self._lead + self._tail
            kept = sum(len(row) - special for row in rows)
            cut[number] = len(pieces) - special - kept
            for row, chosen in enumerate(rows):
                place = number, row, slice(len(chosen))
                tokens[place] = [index for index, _ in chosen]
                offsets[place] = [span for _, span in chosen]
                mask[place] = True
        added = dict(tokens=tokens, token_mask=mask)
        if 'keyword_spans' in results:
            added['token_weight'] = self._weigh(
                mask, offsets, results['keyword_spans']
            )
        if self.long_text == 'truncate':
            added = {key: value[:, 0] for key, value in added.items()}
        return {**results, **added, 'cut_pieces': cut}

    def fit_captions(self, captions: Sequence[str], ann_file: str) -> None:
        """Warn of captions that hold unknown words, or are cut."""
        finding = self.describe_captions(captions)
        if finding:
            print_log(f'{ann_file}: {finding}.', 'current', logging.WARNING)

    def describe_captions(self, captions: Sequence[str]) -> str:
        """Say how much of captions is unknown or cut; empty if nothing is.

        Args:
            captions: All captions; of many, some spread over them count.
        """
        step = -(-len(captions) // MAX_LOOKED_AT)
        looked_at = list(captions[:: max(step, 1)])
        readings = [self.read_caption(caption) for caption in looked_at]
        total = f'{len(looked_at):,}'
        if step > 1:
            total += f' (of {len(captions):,})'
        words = Counter(word for each in readings for word in each.unknown)
        unknown = sum(bool(each.unknown) for each in readings)
        blind = sum(each.is_unknown for each in readings)
        cut = sum(bool(each.cut) for each in readings)
        found = []
        if unknown:
            common = ', '.join(
                repr(w) for w, _ in words.most_common(MAX_SHOWN)
            )
            found.append(
                f'{unknown:,} of {total} captions hold words that the '
                f'tokenizer {self.name} does not know, such as {common}'
            )
        if blind:
            found.append(
                f'{blind:,} hold no other: the model reads them all alike'
            )
        if cut:
            found.append(
                f'{cut:,} of {total} captions are cut to '
                f'max_words={self.max_words} pieces'
            )
        return '; '.join(found)

    def read_caption(self, caption: str) -> TextReading:
        """Find what of a caption does not reach the model."""
        pieces = self._encode(caption)
        rows = self._break(caption, pieces)
        special = self._lead + self._tail
        read = [
            p for row in rows for p in row[self._lead : len(row) - self._tail]
        ]
        unknown, known = [], False
        for index, (start, end) in read:
            word = caption[start:end]
            if index != self.word_pieces.unknown:
                known = known or has_word(word)
            elif has_word(word) and word.strip() not in unknown:
                unknown.append(word.strip())
        cut = ''
        if len(pieces) - special > len(read):
            cut = caption[read[-1][1][1] :].strip()
        return TextReading(tuple(unknown), cut, bool(unknown) and not known)

    def find_spans(self, caption: str) -> list[Span]:
        """Character span of each True in the row or rows of ``token_mask``.

        Special tokens have (0, 0).
        """
        rows = self._break(caption, self._encode(caption))
        return [span for row in rows for _, span in row]

    def name_pieces(self, caption: str) -> list[str]:
        """Name each True in the row or rows of ``token_mask``.

        A name is the characters of the piece, as the caption writes them,
        after a hyphen where it continues a word. A character of several
        pieces is named once, further pieces are ``'-'``. Special tokens are
        ``'[start]'`` and ``'[end]'``.
        """
        names = []
        for row in self._break(caption, self._encode(caption)):
            names += ['[start]'] * self._lead
            before = None
            for piece in row[self._lead : len(row) - self._tail]:
                known = before is not None and piece[1] == before[1]
                name = '' if known else caption[slice(*piece[1])].strip()
                continues = known or self._continues_word(before, piece)
                names.append(f'-{name}' if continues else name)
                before = piece
            names += ['[end]'] * self._tail
        return names

    def _continues_word(self, before: Piece | None, piece: Piece) -> bool:
        """Whether two pieces that follow each other are of one word."""
        if before is None:
            return False
        (index, (start, end)), (other, (place, _)) = before, piece
        name = self.word_pieces.backend.id_to_token
        token, following = name(index), name(other)
        return (
            start < end == place
            and not token.endswith('</w>')
            # SentencePiece and GPT-2 mark the space in front of a word.
            and not following.startswith(('▁', 'Ġ'))
        )

    def _encode(self, caption: str) -> list[Piece]:
        pieces = self.word_pieces.backend.encode(caption)
        return list(zip(pieces.ids, pieces.offsets, strict=True))

    def _break(self, caption: str, pieces: list[Piece]) -> list[list[Piece]]:
        """Break a caption into rows of at most L pieces with SOT and EOT."""
        if len(pieces) <= self.max_words:
            return [pieces]
        last = len(pieces) - self._tail
        start, end = pieces[: self._lead], pieces[last:]
        words = pieces[self._lead : last]
        if self.long_text == 'truncate':
            sentences = [words[: self._room]]
        else:
            sentences = self._split_sentences(caption, words)
        return [
            [*start, *sentence, *end]
            for sentence in sentences[: self.max_rows]
        ]

    def _split_sentences(
        self, caption: str, words: list[Piece]
    ) -> list[list[Piece]]:
        """Split at sentence ends, and again what is longer than a row."""
        ends = [match.start() for match in SENTENCE_END.finditer(caption)]
        places = [span[0] for _, span in words]
        borders = [0, *np.searchsorted(places, ends).tolist(), len(words)]
        return [
            words[first : min(first + self._room, last)]
            for begin, last in itertools.pairwise(borders)
            for first in range(begin, last, self._room)
        ]

    def _weigh(
        self,
        mask: np.ndarray,
        offsets: np.ndarray,
        keyword_spans: Sequence[Iterable[Span]],
    ) -> np.ndarray:
        """Map character spans to pieces: a piece inside a span is a key.

        Special tokens have the empty offset (0, 0), which meets no span.
        """
        weight = mask.astype(np.float32)
        for pieces, places, spans in zip(
            weight, offsets, keyword_spans, strict=True
        ):
            first, last = places[..., 0], places[..., 1]
            for start, end in spans:
                inside = (first < end) & (last > start) & (first < last)
                pieces[inside] = self.keyword_weight
        return weight

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(tokenizer={self.name!r}, '
            f'max_words={self.max_words}, '
            f'keyword_weight={self.keyword_weight}, '
            f'long_text={self.long_text!r})'
        )
