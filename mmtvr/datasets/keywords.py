"""Taggers that find nouns, adjectives and verbs in a caption."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import write_arrays

Span = tuple[int, int]


def hash_caption(caption: str) -> int:
    """Hash a caption, the same in every process and run.

    Args:
        caption: Any text.

    Returns:
        64 bits. Among a million captions two differing ones collide with a
        probability of 3e-8.
    """
    data = caption.encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, 'little')


class SpanTable:
    """Spans by caption, as three arrays.

    Workers get arrays at no cost when they are forked and quickly when they
    are spawned; a dict of 180,000 lists of tuples would be copied into each.

    Args:
        keys: Shape (n,), uint64, ascending hashes of the captions.
        bounds: Shape (n + 1,), int64. Caption i has spans[bounds[i] :
            bounds[i + 1]].
        spans: Shape (m, 2), int32, start and end in characters.
    """

    def __init__(
        self, keys: np.ndarray, bounds: np.ndarray, spans: np.ndarray
    ) -> None:
        self.keys = keys
        self.bounds = bounds
        self.spans = spans

    @classmethod
    def build(
        cls, captions: Sequence[str], spans: Iterable[list[Span]]
    ) -> 'SpanTable':
        """Make a table.

        Args:
            captions: Distinct captions.
            spans: The spans of each.

        Returns:
            The table.
        """
        spans = list(spans)
        keys = np.array([hash_caption(text) for text in captions], np.uint64)
        order = np.argsort(keys)
        counts = [len(spans[row]) for row in order]
        flat = [span for row in order for span in spans[row]]
        return cls(
            keys[order],
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.array(flat, dtype=np.int32).reshape(-1, 2),
        )

    def __len__(self) -> int:
        """Number of captions."""
        return len(self.keys)

    def get(self, caption: str) -> list[Span] | None:
        """Look a caption up.

        Args:
            caption: Any text.

        Returns:
            Its spans, or None if the table does not know it.
        """
        key = np.uint64(hash_caption(caption))
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            return None
        rows = self.spans[self.bounds[row] : self.bounds[row + 1]]
        return [(start, end) for start, end in rows.tolist()]

    def save(self, path: Path) -> None:
        """Write the table; a reader sees the whole file or none.

        Args:
            path: An .npz file.
        """
        arrays = dict(keys=self.keys, bounds=self.bounds, spans=self.spans)
        write_arrays(path, arrays, compress=True)

    @classmethod
    def load(cls, path: Path) -> 'SpanTable':
        """Read a table.

        Args:
            path: What :meth:`save` wrote.

        Returns:
            The table.

        Raises:
            ValueError: If the file holds no table.
            OSError: If it cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                table = cls(file['keys'], file['bounds'], file['spans'])
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f'{path} holds no span table') from error
        sizes = len(table.keys) + 1, (int(table.bounds[-1]), 2)
        if (len(table.bounds), table.spans.shape) != sizes:
            raise ValueError(f'{path} holds a span table that is not whole')
        return table


# A word as HanTa's training corpus cuts it: "does|n't", "man|'s", "t-shirt".
WORD = re.compile(
    r"""[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’][^\W\d_]+
    |[^\W\d_]+(?:-[^\W\d_]+)*|\d\w*|[^\w\s]""",
    re.VERBOSE,
)
# Longer strings are no English words, and analysing them takes seconds.
LONGEST_WORD = 40


class WordTagger(Protocol):
    """What finds the content words of captions.

    Attributes:
        name: Tells taggers apart, with their version: tags are cached by it.
    """

    name: str

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """Find nouns, adjectives and verbs, stop words among them.

        Proper nouns, numerals, auxiliaries and adverbs do not count.

        Args:
            captions: Any number of captions.

        Yields:
            Per caption, the character spans (start, end) of its content
            words, ascending.
        """


class HanTaTagger:
    """Tag with HanTa (the Hanover Tagger) and its English model.

    The model uses the tags of the British National Corpus: AJ* adjectives,
    NN* common nouns, VV* verbs other than be, have, do and the modals.

    Raises:
        SetupError: If HanTa is not installed.
    """

    CONTENT = ('AJ', 'NN', 'VV')

    def __init__(self) -> None:
        try:
            from HanTa.HanoverTagger import HanoverTagger
        except ImportError as error:
            raise SetupError(
                'Key words need HanTa, which is not installed: '
                'pip install HanTa'
            ) from error
        self.name = f'hanta-{version("HanTa")}'
        self._tagger = HanoverTagger('morphmodel_en.pgz')

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """See :class:`WordTagger`."""
        for caption in captions:
            words = [
                word
                for word in WORD.finditer(caption)
                if len(word[0]) <= LONGEST_WORD
            ]
            tags = self._tagger.tag_sent(
                [word[0] for word in words], taglevel=0
            )
            yield [
                word.span()
                for word, tag in zip(words, tags, strict=True)
                if tag.startswith(self.CONTENT)
            ]


class SpacyTagger:
    """Tag with an installed spaCy model, such as ``en_core_web_sm``.

    Args:
        model: Name of the model's package.

    Raises:
        SetupError: If spaCy or the model is not installed.
    """

    CONTENT = ('NOUN', 'ADJ', 'VERB')

    def __init__(self, model: str) -> None:
        try:
            import spacy

            self._nlp = spacy.load(model, exclude=['parser', 'ner'])
        except (ImportError, OSError) as error:
            raise SetupError(
                f'The spaCy model {model} for key words is not installed: '
                f'pip install spacy && python -m spacy download {model}'
            ) from error
        meta = self._nlp.meta
        self.name = f'spacy-{meta["lang"]}_{meta["name"]}-{meta["version"]}'

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """See :class:`WordTagger`."""
        for document in self._nlp.pipe(captions):
            yield [
                (token.idx, token.idx + len(token.text))
                for token in document
                if token.pos_ in self.CONTENT
            ]


@lru_cache(maxsize=1)
def get_stop_words() -> frozenset[str]:
    """Give the English stop words of scikit-learn.

    Returns:
        The list without its words that name what a video shows.
    """
    # Imported late: it takes a second in each spawned worker.
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS - {
        *('amount', 'bill', 'call', 'cry', 'describe', 'detail', 'empty'),
        *('fill', 'fire', 'full', 'interest', 'mill', 'move', 'name', 'part'),
        *('serious', 'show', 'sincere', 'system', 'thick', 'thin'),
    }


@lru_cache(maxsize=2)
def load_tagger(name: str) -> WordTagger:
    """Load a tagger, once per process.

    Args:
        name: ``'hanta'``, or ``'spacy:MODEL'``.

    Returns:
        The tagger.

    Raises:
        ValueError: If the name is unknown.
        SetupError: If the tagger is not installed.
    """
    kind, _, model = name.partition(':')
    if kind == 'hanta' and not model:
        return HanTaTagger()
    if kind == 'spacy' and model:
        return SpacyTagger(model)
    raise ValueError(
        f"tagger must be 'hanta' or 'spacy:MODEL', such as "
        f"'spacy:en_core_web_sm', got {name!r}"
    )


def find_key_words(
    captions: Sequence[str], tagger: WordTagger, stop_words: frozenset[str]
) -> Iterator[list[Span]]:
    """Find content words that are no stop words.

    Args:
        captions: Any number of captions.
        tagger: See :func:`load_tagger`.
        stop_words: Words in lower case.

    Yields:
        Per caption, the character spans (start, end) of its key words.
    """
    for caption, spans in zip(captions, tagger(captions), strict=True):
        yield [
            (start, end)
            for start, end in spans
            if caption[start:end].lower() not in stop_words
        ]
