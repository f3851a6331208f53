"""Textual attention: which words of a caption count more."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from platformdirs import user_cache_path
from tqdm import tqdm

from mmtvr.datasets.key_words import (
    find_key_words,
    get_stop_words,
    load_tagger,
)
from mmtvr.datasets.span_table import Span, SpanTable
from mmtvr.registry import TRANSFORMS

CACHE_FOLDER = '.mmtvr_cache'
SHOW_PROGRESS = 5000


@TRANSFORMS.register_module()
class TagKeyWords(BaseTransform):
    """Mark nouns, adjectives and verbs that are no stop words.

    :class:`TextVideoDataset` shows it all captions once: they are tagged in
    the main process, each distinct caption once, and kept on disk beside the
    annotation file (in the user's cache folder if that is read-only), by
    their content, the tagger and the stop words. Workers only look up. A
    caption that was not shown, as in a dataset of mmaction2, is tagged when
    it comes; the tagger is then loaded once per process.

    Put it before :class:`DropUnimportantWords`, which shifts the spans.

    **Required Keys:**

    - text: a caption, or the list of n captions

    **Added Keys:**

    - keyword_spans: per caption, a list of character spans (start, end)

    Args:
        tagger (str): ``'hanta'``, which needs nothing more, or
            ``'spacy:MODEL'`` with an installed spaCy model.
        stop_words (Sequence[str], optional): Words that are never key.
            Defaults to None: scikit-learn's English list without the words
            that name what a video shows.
        cache (bool): Keep tags on disk.
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
        words = get_stop_words() if stop_words is None else stop_words
        self.stop_words = frozenset(word.lower() for word in words)
        self.cache = cache
        self._table: SpanTable | None = None

    def fit_captions(self, captions: Sequence[str], ann_file: str) -> None:
        """Tag captions, or read what an earlier run has tagged.

        Args:
            captions: All captions of an annotation file, repeats included.
            ann_file: The file, beside which tags are kept.
        """
        captions = list(dict.fromkeys(captions))
        if not self.cache:
            self._table = self._tag(captions)
            return
        name = f'key_words-{self._digest(captions)}.npz'
        beside = Path(ann_file).resolve().parent / CACHE_FOLDER
        for folder in (beside, user_cache_path('mmtvr')):
            try:
                self._table = self._load_or_tag(captions, folder / name)
            except OSError as error:
                print_log(
                    f'Key words cannot be kept in {folder}: {error}',
                    'current',
                    logging.WARNING,
                )
            else:
                return
        self._table = self._tag(captions)

    def transform(self, results: dict) -> dict:
        """Find the key words of one sample.

        Args:
            results: Sample with the required keys.

        Returns:
            The sample with the added keys.
        """
        text = results['text']
        captions = [text] if isinstance(text, str) else text
        spans = [self._find(caption) for caption in captions]
        return {**results, 'keyword_spans': spans}

    def _find(self, caption: str) -> list[Span]:
        known = None if self._table is None else self._table.get(caption)
        if known is not None:
            return known
        tagger = load_tagger(self.tagger)
        return next(find_key_words([caption], tagger, self.stop_words))

    def _load_or_tag(self, captions: Sequence[str], path: Path) -> SpanTable:
        """Let one process tag while the others wait for its file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix('.lock')):
            if path.is_file():
                try:
                    return SpanTable.load(path)
                except ValueError as error:
                    print_log(f'{error}; tagging anew.', 'current')
            table = self._tag(captions)
            table.save(path)
        return table

    def _tag(self, captions: Sequence[str]) -> SpanTable:
        tagger = load_tagger(self.tagger)
        bar = tqdm(
            find_key_words(captions, tagger, self.stop_words),
            total=len(captions),
            desc='Tagging key words',
            unit=' captions',
            mininterval=1,
            disable=len(captions) < SHOW_PROGRESS,
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
