"""Key words of captions: taggers that find them, tables that keep them."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from mmtvr.errors import SetupError, import_extra
from mmtvr.files import write_arrays

#: Start and end of a word in the characters of its caption.
Span = tuple[int, int]

# A word as HanTa's training corpus cuts it: "does|n't", "man|'s", "t-shirt".
WORD = re.compile(
    r"""[^\W\d_]+(?=n['’]t\b)|n['’]t\b|['’][^\W\d_]+
    |[^\W\d_]+(?:-[^\W\d_]+)*|\d\w*|[^\w\s]""",
    re.VERBOSE,
)
# Longer strings are no English words, and analysing them takes seconds.
MAX_WORD_LENGTH = 40


class WordTagger(Protocol):
    """Finds the content words of captions.

    Attributes:
        name: Name and version; tags are cached under it.
        language: Two letters (ISO 639-1).
    """

    name: str
    language: str

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """Find nouns, adjectives and verbs, stop words among them.

        Proper nouns, numerals, auxiliaries and adverbs do not count.

        Args:
            captions: Any number of captions.

        Yields:
            Per caption, the character spans of its content words, ascending.
        """

    def tag(self, captions: Iterable[str]) -> Iterator[list[tuple[Span, str]]]:
        """Find the same words with their part of speech.

        Yields:
            Per caption, spans with ``'noun'``, ``'adjective'`` or ``'verb'``.
        """


class HanTaTagger:
    """Tag with HanTa (the Hanover Tagger) and a model that comes with it.

    The English model uses the tags of the British National Corpus: AJ*
    adjectives, NN* common nouns, VV* verbs other than be, have, do and the
    modals; the German one those of STTS, ADJ, NN and VV.

    Args:
        language: ``'en'`` or ``'de'``.

    Raises:
        SetupError: If HanTa is not installed.
    """

    MODELS = {'en': 'morphmodel_en.pgz', 'de': 'morphmodel_ger.pgz'}
    CONTENT = {'AJ': 'adjective', 'NN': 'noun', 'VV': 'verb'}

    def __init__(self, language: str = 'en') -> None:
        purpose = "tagging key words with tagger='hanta'"
        hanta = import_extra('HanTa.HanoverTagger', 'keywords', purpose)
        self.language = language
        self.name = f'hanta-{version("HanTa")}'
        if language != 'en':
            self.name += f'-{language}'
        self._tagger = hanta.HanoverTagger(self.MODELS[language])

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """See :class:`WordTagger`."""
        for tagged in self.tag(captions):
            yield [span for span, _ in tagged]

    def tag(self, captions: Iterable[str]) -> Iterator[list[tuple[Span, str]]]:
        """See :class:`WordTagger`."""
        for caption in captions:
            words = [
                word
                for word in WORD.finditer(caption)
                if len(word[0]) <= MAX_WORD_LENGTH
            ]
            tags = self._tagger.tag_sent(
                [word[0] for word in words], taglevel=0
            )
            # German adjectives; adverbs, ADV, begin alike.
            tags = [tag.replace('ADJ', 'AJ') for tag in tags]
            yield [
                (word.span(), self.CONTENT[tag[:2]])
                for word, tag in zip(words, tags, strict=True)
                if tag[:2] in self.CONTENT
            ]


class SpacyTagger:
    """Tag with an installed spaCy model, such as ``en_core_web_sm``.

    Raises:
        SetupError: If spaCy or the model is not installed.
    """

    CONTENT = {'NOUN': 'noun', 'ADJ': 'adjective', 'VERB': 'verb'}

    def __init__(self, model: str) -> None:
        purpose = f"tagging key words with tagger='spacy:{model}'"
        spacy = import_extra('spacy', 'spacy', purpose)
        try:
            self._nlp = spacy.load(model, exclude=['parser', 'ner'])
        except (ImportError, OSError) as error:
            raise SetupError(
                f'{purpose} needs the spaCy model {model}, which is not '
                f'installed: python -m spacy download {model}'
            ) from error
        meta = self._nlp.meta
        self.language = meta['lang']
        self.name = f'spacy-{meta["lang"]}_{meta["name"]}-{meta["version"]}'

    def __call__(self, captions: Iterable[str]) -> Iterator[list[Span]]:
        """See :class:`WordTagger`."""
        for tagged in self.tag(captions):
            yield [span for span, _ in tagged]

    def tag(self, captions: Iterable[str]) -> Iterator[list[tuple[Span, str]]]:
        """See :class:`WordTagger`."""
        for document in self._nlp.pipe(captions):
            yield [
                (
                    (token.idx, token.idx + len(token.text)),
                    self.CONTENT[token.pos_],
                )
                for token in document
                if token.pos_ in self.CONTENT
            ]


@lru_cache(maxsize=2)
def load_tagger(name: str) -> WordTagger:
    """Load a tagger, once per process.

    Args:
        name: ``'hanta'`` for English, ``'hanta:de'`` for German, or
            ``'spacy:MODEL'``.

    Raises:
        ValueError: If the name is unknown.
        SetupError: If the tagger is not installed.
    """
    kind, _, model = name.partition(':')
    if name == 'hanta' or (kind == 'hanta' and model in HanTaTagger.MODELS):
        return HanTaTagger(model or 'en')
    if kind == 'spacy' and model:
        return SpacyTagger(model)
    raise ValueError(
        f"tagger must be 'hanta' for English, 'hanta:de' for German, or "
        f"'spacy:MODEL', such as 'spacy:en_core_web_sm', got {name!r}"
    )


STOP_WORD_LIST = """
a about above across after afterwards again against all almost alone along
already also although always am among amongst amoungst an and another any
anyhow anyone anything anyway anywhere are around as at back be became
because become becomes becoming been before beforehand behind being below
beside besides between beyond both bottom but by can cannot cant co con
could couldnt de do done down due during each eg eight either eleven else
elsewhere enough etc even ever every everyone everything everywhere except
few fifteen fifty find first five for former formerly forty found four from
front further get give go had has hasnt have he hence her here hereafter
hereby herein hereupon hers herself him himself his how however hundred i
ie if in inc indeed into is it its itself keep last latter latterly least
less ltd made many may me meanwhile might mine more moreover most mostly
much must my myself namely neither never nevertheless next nine no nobody
none noone nor not nothing now nowhere of off often on once one only onto
or other others otherwise our ours ourselves out over own per perhaps
please put rather re same see seem seemed seeming seems several she should
side since six sixty so some somehow someone something sometime sometimes
somewhere still such take ten than that the their them themselves then
thence there thereafter thereby therefore therein thereupon these they
third this those though three through throughout thru thus to together too
top toward towards twelve twenty two un under until up upon us very via was
we well were what whatever when whence whenever where whereafter whereas
whereby wherein whereupon wherever whether which while whither who whoever
whole whom whose why will with within without would yet you your yours
yourself yourselves
"""
#: Scikit-learn's English stop words, less those that name what a video shows.
#: Importing them from there takes a second, and tags would change with it.
STOP_WORDS = frozenset(STOP_WORD_LIST.split())


def find_keywords(
    captions: Sequence[str], tagger: WordTagger, stop_words: frozenset[str]
) -> Iterator[list[Span]]:
    """Find content words that are no stop words.

    Args:
        captions: Any number of captions.
        tagger: See :func:`load_tagger`.
        stop_words: Words in lower case.

    Yields:
        Per caption, the character spans of its key words.
    """
    for caption, spans in zip(captions, tagger(captions), strict=True):
        yield [
            (start, end)
            for start, end in spans
            if caption[start:end].lower() not in stop_words
        ]


def hash_caption(caption: str) -> int:
    """Hash a caption to 64 bits, the same in every process and run.

    Among a million captions two differing ones collide with a probability of
    3e-8.
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
        """Make a table of distinct captions and the spans of each."""
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
        """Spans of a caption; None if the table does not know it."""
        key = np.uint64(hash_caption(caption))
        row = int(np.searchsorted(self.keys, key))
        if row == len(self.keys) or self.keys[row] != key:
            return None
        rows = self.spans[self.bounds[row] : self.bounds[row + 1]]
        return [(start, end) for start, end in rows.tolist()]

    def save(self, path: Path) -> None:
        """Write an .npz file; a reader sees the whole file or none."""
        arrays = dict(keys=self.keys, bounds=self.bounds, spans=self.spans)
        write_arrays(path, arrays, compress=True)

    @classmethod
    def load(cls, path: Path) -> 'SpanTable':
        """Read what :meth:`save` wrote.

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
            raise ValueError(f'{path} holds a truncated span table')
        return table
