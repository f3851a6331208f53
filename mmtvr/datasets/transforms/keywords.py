"""Transforms that tag key words, or drop the least informative words."""

import hashlib
import logging
import re
import string
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from platformdirs import user_cache_path
from tqdm import tqdm

from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.keywords import (
    STOP_WORDS,
    Span,
    SpanTable,
    find_keywords,
    load_tagger,
)
from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS

CACHE_FOLDER = '.mmtvr_cache'
PROGRESS_FROM = 5000
NOT_ENGLISH = re.compile(r'[^\W\d_a-zA-Z]')
# English has names and loan words with such letters, as has café.
MAX_NOT_ENGLISH = 0.1


@TRANSFORMS.register_module()
class TagKeyWords(BaseTransform):
    """Mark nouns, adjectives and verbs that are no stop words.

    :class:`TextVideoDataset` passes it all captions once: they are tagged in
    the main process, each distinct caption once, and kept on disk beside the
    annotation file (in the user's cache folder if that is read-only), by
    their content, the tagger and the stop words. Workers only look up. Any
    other caption, as in a dataset of mmaction2, is tagged when it is met; the
    tagger is then loaded once per process.

    Put it before :class:`DropUnimportantWords`, which shifts the spans.

    **Required Keys:**

    - text: a caption, or the list of n captions

    **Added Keys:**

    - keyword_spans: per caption, a list of character spans (start, end)

    Args:
        tagger (str): ``'hanta'`` for English or ``'hanta:de'`` for German,
            which need the extra ``keywords``, or ``'spacy:MODEL'``, which
            needs the extra ``spacy`` and that model.
        stop_words (Sequence[str], optional): Words that are never key words.
            Defaults to None: scikit-learn's English list without the words
            that name what a video shows.
        cache (bool): Keep tags on disk.

    Raises:
        SetupError: If the tagger is not installed; no other one takes its
            place.
    """

    #: Which side of a sample it reads.
    reads = 'text'

    def __init__(
        self,
        tagger: str = 'hanta',
        stop_words: Sequence[str] | None = None,
        cache: bool = True,
    ) -> None:
        load_tagger(tagger)
        self.tagger = tagger
        words = STOP_WORDS if stop_words is None else stop_words
        self.stop_words = frozenset(word.lower() for word in words)
        self.cache = cache
        self._table: SpanTable | None = None

    def fit_captions(self, captions: Sequence[str], ann_file: str) -> None:
        """Tag all captions of an annotation file, or read their tags."""
        captions = list(dict.fromkeys(captions))
        self._check_language(captions)
        if not self.cache:
            self._table = self._tag(captions)
            return
        name = f'key_words-{self._digest(captions)}.npz'
        beside = Path(ann_file).resolve().parent / CACHE_FOLDER
        for folder in (beside, user_cache_path('mmtvr')):
            try:
                self._table = self._load_or_tag(captions, folder / name)
            except (OSError, SetupError) as error:
                print_log(
                    f'key words cannot be cached in {folder}: {error}',
                    'current',
                    logging.WARNING,
                )
            else:
                return
        self._table = self._tag(captions)

    def _check_language(self, captions: Sequence[str]) -> None:
        """Warn where an English tagger gets what is hardly English."""
        other = [each for each in captions if NOT_ENGLISH.search(each)]
        if (
            len(other) > MAX_NOT_ENGLISH * len(captions)
            and load_tagger(self.tagger).language == 'en'
        ):
            print_log(
                f'{len(other)} of {len(captions)} captions have letters that '
                f'English does not, such as {other[0]!r}, and '
                f'tagger={self.tagger!r} knows English words only: the key '
                "words will be wrong. Set tagger='hanta:de' for German, "
                "'spacy:MODEL' for other languages, or take a recipe without "
                'key words (clip4clip_*)',
                'current',
                logging.WARNING,
            )

    def transform(self, results: dict) -> dict:
        """Find the key words of one sample."""
        text = results['text']
        captions = [text] if isinstance(text, str) else text
        spans = [self._find(caption) for caption in captions]
        return {**results, 'keyword_spans': spans}

    def _find(self, caption: str) -> list[Span]:
        known = None if self._table is None else self._table.get(caption)
        if known is not None:
            return known
        tagger = load_tagger(self.tagger)
        return next(find_keywords([caption], tagger, self.stop_words))

    def _load_or_tag(self, captions: Sequence[str], path: Path) -> SpanTable:
        """Let one process tag while the others wait for its file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix('.lock')):
            if path.is_file():
                try:
                    return SpanTable.load(path)
                except ValueError as error:
                    print_log(f'{error}; tagging again', 'current')
            table = self._tag(captions)
            table.save(path)
        return table

    def _tag(self, captions: Sequence[str]) -> SpanTable:
        tagger = load_tagger(self.tagger)
        bar = tqdm(
            find_keywords(captions, tagger, self.stop_words),
            total=len(captions),
            desc='Tagging key words',
            unit=' captions',
            mininterval=1,
            disable=len(captions) < PROGRESS_FROM,
        )
        return SpanTable.build(captions, bar)

    def _digest(self, captions: Sequence[str]) -> str:
        name = load_tagger(self.tagger).name
        digest = hashlib.blake2b(digest_size=12)
        for part in (name, *sorted(self.stop_words), *sorted(captions)):
            digest.update(part.encode('utf-8', 'surrogatepass') + b'\0')
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f'{type(self).__name__}(tagger={self.tagger!r})'


WORD = re.compile(r'\S+')


def split_words(caption: str) -> list[str]:
    """Split at white space into lower-case words without punctuation."""
    words = caption.lower().split()
    return [word.strip(string.punctuation) or word for word in words]


@TRANSFORMS.register_module()
class DropUnimportantWords(BaseTransform):
    """Drop a few of the least informative words, drawn at each access.

    For training only: a list of captions, as in test mode, stays untouched.
    A word is as informative as its TF-IDF over the captions of the training
    set; as nearly every word occurs once in its caption, that is its inverse
    document frequency, smoothed as in scikit-learn. Candidates are the words
    of the caption that score no more than its average word, at most
    ``max_dropped`` of the lowest ones. Of these, k are drawn, k uniform in
    0, ..., min(number of candidates, L // 2) for a caption of L words, and
    each of their occurrences is left out. The rest is joined by single spaces
    and never empty.

    Random numbers come from numpy's global generator, which mmengine seeds in
    each worker.

    **Required Keys:**

    - text: a caption

    **Modified Keys:**

    - text
    - keyword_spans (optional): follow their words, or go with them

    Args:
        max_dropped (int): Largest number of words, not counting repeats.
        ann_file (str, optional): Annotation file with the training captions.
            Defaults to None: :class:`TextVideoDataset` passes its captions.
    """

    #: Which side of a sample it reads.
    reads = 'text'

    def __init__(
        self, max_dropped: int = 5, ann_file: str | None = None
    ) -> None:
        if max_dropped < 1:
            raise ValueError(
                f'max_dropped must be positive, got {max_dropped}'
            )
        self.max_dropped = max_dropped
        self._scores: dict[str, float] = {}
        self._unknown = 0.0
        if ann_file is not None:
            records = read_annotations(ann_file)
            captions = [text for video in records for text in video.captions]
            self.fit_captions(captions, ann_file)

    def fit_captions(self, captions: Sequence[str], ann_file: str) -> None:
        """Score each word by all captions of the training set."""
        del ann_file
        counts: Counter[str] = Counter()
        for caption in captions:
            counts.update(set(split_words(caption)))
        frequency = (np.array([*counts.values()]) + 1) / (len(captions) + 1)
        scores = (1 - np.log(frequency)).tolist()
        self._scores = dict(zip(counts, scores, strict=True))
        self._unknown = max(scores)

    def transform(self, results: dict) -> dict:
        """Drop words of one caption.

        Raises:
            SetupError: If the training captions are not known.
        """
        caption = results['text']
        if not isinstance(caption, str):
            return results
        if not self._scores:
            raise SetupError(
                'DropUnimportantWords has no training captions: use it in a '
                'mmtvr.TextVideoDataset, or set its ann_file.'
            )
        dropped = self._draw(split_words(caption))
        if not dropped:
            return results
        places = [word.span() for word in WORD.finditer(caption)]
        kept = [
            place
            for place, word in zip(places, split_words(caption), strict=True)
            if word not in dropped
        ]
        changed = dict(text=' '.join(caption[i:j] for i, j in kept))
        if 'keyword_spans' in results:
            (spans,) = results['keyword_spans']
            changed['keyword_spans'] = [_shift(spans, kept)]
        return {**results, **changed}

    def _draw(self, words: Sequence[str]) -> set[str]:
        """Draw fewer words than the caption has different ones."""
        scores = {
            word: self._scores.get(word, self._unknown) for word in words
        }
        average = np.mean([scores[word] for word in words])
        least = sorted(scores, key=scores.__getitem__)[: self.max_dropped]
        candidates = [word for word in least if scores[word] <= average + 1e-9]
        most = min(len(candidates), len(words) // 2, len(scores) - 1)
        count = np.random.randint(most + 1)
        return set(np.random.choice(candidates, count, replace=False).tolist())

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_dropped={self.max_dropped})'


def _shift(spans: Sequence[Span], kept: Sequence[Span]) -> list[Span]:
    """Move spans, each in one word, to where the kept words are joined."""
    moved, position, number = [], 0, 0
    for start, end in kept:
        while number < len(spans) and spans[number][0] < start:
            number += 1
        while number < len(spans) and spans[number][1] <= end:
            first, last = spans[number]
            moved.append((first - start + position, last - start + position))
            number += 1
        position += end - start + 1
    return moved
