"""Search in two stages: nearest vectors, then the head of the model."""

import os
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation
from mmtvr.files import load_arrays
from mmtvr.search.encoder import QueryWord, RetrievalEncoder
from mmtvr.search.filters import Filter
from mmtvr.search.hubness import correct_hubs
from mmtvr.search.metadata import MetadataReport, find_snippet
from mmtvr.search.moments import Moment, Timeline, choose_shown, lay_out
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import (
    TOLERANCE,
    DamagedIndexError,
    FileEntry,
    Metadata,
    StoredVideos,
    Value,
    VideoStore,
    find_fault,
    part_vectors,
    require_at_least,
    whole_content,
)
from mmtvr.structures import TokenFeatures

COSINES = (-1.0, 1.0)
# Texts of which the candidates are in memory at a time.
TEXTS_AT_ONCE = 16
MATCHES = ('auto', 'video', 'text')
# Of reciprocal ranks, as in the paper.
RANK_OFFSET = 60
TEXT_WEIGHT = 0.5
# How many times as many candidates may be compared where windows of few long
# videos are all that is near.
MAX_WIDENING = 16


@dataclass(frozen=True)
class WordMoment:
    """A key word of the query and where in the video it is seen best.

    Attributes:
        word: The word as it stands in the query.
        weight: Its textual attention, the mean over its word pieces.
        time: Seconds from the first frame of the file to the frame that is
            most like the word.
        score: Cosine of the word and that frame.
    """

    word: str
    weight: float
    time: float
    score: float


@dataclass(frozen=True)
class SearchResult:
    """One video that was found.

    Attributes:
        path: The file as it was indexed.
        score: Similarity by the head of the model, the higher the better;
            for a query by vector or by video, the cosine of pooled vectors.
        rank: 1 for the best.
        time: Seconds from the first frame of the file to the frame that is
            most like the whole query. None where the index has no frames.
        words: The key words of a text query; empty for other queries.
        start: First second of the indexed span; None from the beginning.
        end: Last second of the indexed span; None to the end.
        copies: Other files of the index with the same content.
        is_gone: Whether the file, and each copy, is no longer there.
        matched: What of the video the query found: ``video``, what is seen,
            and ``text``, what belongs to it; empty for other queries.
        snippet: The text around what was found in it.
        snippet_time: Seconds to the subtitle that the snippet is.
        fields: Columns of the file, see :mod:`mmtvr.search.metadata`.
        near_copies: How many further results were left out because they
            look nearly the same.
        key: Names the file in the index.
        probability: That the video shows what is asked, see
            :mod:`mmtvr.search.calibration`; None where that is not known.
        source: The folder or the annotation file that named it; empty for a
            file that was given by itself.
        moments: From when to when the video shows what the text says, the
            best first, where it was asked for; parts that do not overlap.
        moment_step: Seconds between the frames that they come from: they are
            no more exact.
    """

    path: str
    score: float
    rank: int
    time: float | None = None
    words: tuple[WordMoment, ...] = ()
    start: float | None = None
    end: float | None = None
    copies: tuple[str, ...] = ()
    is_gone: bool = False
    matched: tuple[str, ...] = ()
    snippet: str = ''
    snippet_time: float | None = None
    fields: dict[str, Value] = field(default_factory=dict, hash=False)
    near_copies: int = 0
    key: str = ''
    probability: float | None = None
    source: str = ''
    moments: tuple[Moment, ...] = ()
    moment_step: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, dicts, strings and numbers, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class VideoExplanation:
    """Why a text and a video have their score.

    Attributes:
        text: The query.
        path: The video.
        times: Shape (T,), seconds from the first frame of the file to each
            frame of the explanation.
        explanation: Word pieces, their weights, their cosines with the
            frames and more, see :class:`mmtvr.explanation.Explanation`.
    """

    text: str
    path: str
    times: np.ndarray = field(repr=False)
    explanation: Explanation = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, dicts, strings and numbers, for JSON."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, '_asdict'):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


@dataclass(frozen=True)
class IndexReport:
    """What one call of ``index`` did.

    Attributes:
        videos: Files in the index now, unreadable ones not counted.
        encoded: Videos that were read and encoded in this call.
        reused: Files that are new or have moved, but whose content was known.
        unchanged: Files that were there before and are as they were.
        removed: Files that are gone and were taken out of the index, those
            that have moved among them.
        unreadable: Path and reason of each file that could not be read.
        skipped: How many of these were not tried again, since they are as
            they were.
        seconds: How long it took.
        metadata: How a table of columns fits the index.
        unreadable_subtitles: Path and reason of subtitles that could not be
            read.
        others: How many files of the folders were left out, as their names
            do not end like those of videos, by their extension.
        windows: Windows of long videos that were encoded.
        unreadable_windows: Path of each long video of which windows could not
            be read in this call, how many, and why. The rest of it is in the
            index.
    """

    videos: int
    encoded: int
    reused: int
    unchanged: int
    removed: int
    unreadable: dict[str, str]
    skipped: int
    seconds: float
    metadata: MetadataReport = field(default_factory=MetadataReport)
    unreadable_subtitles: dict[str, str] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    windows: int = 0
    unreadable_windows: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, dicts, strings and numbers, for JSON."""
        return {**asdict(self), 'metadata': self.metadata._asdict()}


@dataclass(frozen=True)
class Selection:
    """Which of the results of a query are wanted.

    Attributes:
        top_k: How many.
        offset: How many of the best are left out, those of earlier pages.
        candidates: How many neighbours in the first stage the head compares
            exactly. Further ones follow behind them, as many at a
            time: pages neither overlap nor leave anything out.
        where: Of which files.
        match: Where a text is looked for: in what is seen (``video``), in the
            texts that belong to videos (``text``), or in both, where the
            index has texts (``auto``).
        text_weight: Of the texts, from 0 to 1, where both are searched.
        distinct: Leave out what is, by the cosine of pooled vectors, at least
            so like a better result; None for nothing.
        moments: Whether to find from when to when each result shows what a
            text says.
        nnn: How much of the hubness of a video counts against it where a
            text is looked for in what is seen, and hubness was measured. The
            scores of the results are those of the head.

    Raises:
        SetupError: A number is too small, or a word unknown.
    """

    top_k: int = 10
    offset: int = 0
    candidates: int = 100
    where: Filter | None = None
    match: str = 'auto'
    text_weight: float = TEXT_WEIGHT
    distinct: float | None = None
    moments: bool = False
    nnn: float = 0.0

    def __post_init__(self) -> None:
        require_at_least(1, top_k=self.top_k, candidates=self.candidates)
        require_at_least(0, offset=self.offset)
        if self.match not in MATCHES:
            raise SetupError(
                f'match must be one of {", ".join(MATCHES)}, got '
                f'{self.match!r}'
            )
        if not 0 <= self.text_weight <= 1:
            raise SetupError(
                f'text_weight must be from 0 to 1, got {self.text_weight}'
            )
        if self.distinct is not None and not 0 < self.distinct <= 1:
            raise SetupError(
                f'distinct must be a cosine above 0, at most 1, got '
                f'{self.distinct}'
            )

    @property
    def end(self) -> int:
        """Number of the last result."""
        return self.offset + self.top_k

    @property
    def block(self) -> int:
        """How many neighbours are ordered together, at least a page."""
        return max(self.candidates, self.top_k)

    @property
    def neighbours(self) -> int:
        """How many neighbours its blocks of candidates have."""
        return -(-self.end // self.block) * self.block


def parse_where(store: VideoStore, where: str | None) -> Filter | None:
    """Check a condition on the columns of an index.

    Raises:
        SetupError: It is none, or the index has no such column, or none.
    """
    if where is None:
        return None
    columns = store.list_columns()
    if not columns:
        raise SetupError(
            f'{store.url} has no columns to filter by: bring it up to date '
            'with the command that made it (`mmtvr index CONFIG VIDEOS '
            '--into INDEX`), which encodes nothing again'
        )
    return Filter(where, columns)


def search_texts(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    top_k: int,
    candidates: int,
    **options: Any,
) -> list[list[SearchResult]]:
    """Find the videos of some texts.

    Args:
        store: The index.
        encoder: The model that filled it.
        texts: The queries.
        top_k: How many results for each.
        candidates: How many videos, those most like the sentence and the
            words, the head compares exactly.
        **options: Others of :class:`Selection`.

    Returns:
        For each text its results, the best first.
    """
    selection = Selection(top_k, candidates=candidates, **options)
    results = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[first : first + TEXTS_AT_ONCE]
        results += _search_some(store, encoder, some, selection)
    return results


def _search_some(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    selection: Selection,
) -> list[list[SearchResult]]:
    """Ask the store a few times, however many texts there are.

    For moments, once more for each long video that was found.
    """
    matching = _find_matching(store, selection)
    encoded = encoder.encode_texts(texts)
    text, words = encoded.features.to('cpu'), encoded.words
    vectors = text.pooled.float().numpy()
    near: list[list[str]] = [[] for _ in texts]
    if selection.match != 'text':
        queries = encoder.query_vectors(encoded)

        within = None if matching is None else matching.keys()

        def ask(count: int) -> list[list[str]]:
            return store.find_candidates(queries, count, within)

        near = _find_near(ask, selection)
    said = _find_said(store, texts, selection)
    different = dict.fromkeys(
        each for found in (*near, *said) for each in found
    )
    videos = _read_sound(store, list(different))
    rows = {content: row for row, content in enumerate(videos.contents)}
    rankings = []
    for number, vector in enumerate(vectors):
        there = [c for c in near[number] if c in rows]
        heard = [c for c in said[number] if c in rows]
        both = list(dict.fromkeys([*there, *heard]))
        own = videos.select([rows[content] for content in both])
        query = text.select(torch.tensor([number]))
        limits = COSINES
        by_head = bool(own.contents) and all(map(len, own.tokens))
        if by_head:
            scores = encoder.score(query, to_features(own))[0].numpy()
            limits = encoder.score_range
        else:
            scores = own.pooled @ vector
        _check_scores(store, scores, limits)
        order_by = scores
        if selection.nnn:
            wholes = list(map(whole_content, both))
            order_by = correct_hubs(store, wholes, scores, selection.nnn)
        # Of a long video its best window, or the whole.
        best: dict[str, int] = {}
        blocks = _order_blocks(order_by[: len(there)], selection.block)
        for count, row in enumerate(blocks, 1):
            best.setdefault(whole_content(both[row]), row)
            if count == selection.block:
                merged = len(best)
        order = _fuse(
            list(best.values()),
            [best.get(content, both.index(content)) for content in heard],
            selection,
            len(best) if len(blocks) < selection.block else merged,
        )
        order, near_copies = _collapse(own, order, selection.distinct)
        rankings.append(
            _Ranking(
                own,
                scores,
                order[selection.offset : selection.end],
                selection.offset,
                near_copies,
                query,
                words[number],
                texts[number],
                set(best),
                set(heard),
                by_head,
            )
        )
    return _to_results(
        store, rankings, matching, encoder if selection.moments else None
    )


def _find_matching(
    store: VideoStore, selection: Selection
) -> dict[str, set[str]] | None:
    """Videos that match, and the keys of their files; None for all."""
    if selection.where is None:
        return None
    return store.find_matching(selection.where)


def _names(found: Sequence[Sequence[tuple[str, float]]]) -> list[list[str]]:
    return [[content for content, _ in near] for near in found]


def _find_near(
    ask: Callable[[int], list[list[str]]], selection: Selection
) -> list[list[str]]:
    """Neighbours of each query, of as many videos as the pages have.

    The windows of one long video may be nearer than all others: then more
    candidates are taken.

    Args:
        ask: Gives so many neighbours of each query.
        selection: Says how many videos.
    """
    count = selection.neighbours
    max_count = MAX_WIDENING * count
    while True:
        near = ask(count)
        # Fewer than asked: there are no more.
        crowded = any(
            len(found) == count
            and len({whole_content(content) for content in found})
            < selection.end
            for found in near
        )
        if not crowded or count >= max_count:
            return near
        count *= 4


def _find_said(
    store: VideoStore, texts: Sequence[str], selection: Selection
) -> list[list[str]]:
    """Contents whose texts have words of each query, the best first."""
    if selection.match == 'video' or not store.list_columns():
        return [[] for _ in texts]
    count = selection.block
    if selection.match == 'text':
        count = selection.neighbours
    return [
        # Copies of a file are found once.
        list(
            dict.fromkeys(
                content
                for _, content in store.search_text(
                    text, count, selection.where
                )
            )
        )
        for text in texts
    ]


def _order_blocks(scores: np.ndarray, block: int) -> list[int]:
    """Order each block of neighbours by score, one block after the other."""
    order: list[int] = []
    for first in range(0, len(scores), block):
        best = np.argsort(-scores[first : first + block], kind='stable')
        order += (first + best).tolist()
    return order


def _fuse(
    seen: Sequence[int],
    said: Sequence[int],
    selection: Selection,
    first: int | None = None,
) -> list[int]:
    """Merge two rankings by reciprocal ranks (Cormack et al., SIGIR 2009).

    Args:
        seen: Rows by what is seen, the best first.
        said: Rows by their texts.
        selection: Says what each counts.
        first: How many of ``seen`` are merged, those of the first block of
            candidates; the others follow, so that pages stay as they are.

    Returns:
        All rows, the best first.
    """
    if selection.match == 'text' or not said:
        return list(said if selection.match == 'text' else seen)
    fused: dict[int, float] = defaultdict(float)
    merged = seen[: selection.block if first is None else first]
    for rows, weight in (
        (merged, 1 - selection.text_weight),
        (said, selection.text_weight),
    ):
        for rank, row in enumerate(rows, 1):
            fused[row] += weight / (RANK_OFFSET + rank)
    # Stable: of equal ones that which is seen goes first.
    order = sorted(fused, key=fused.__getitem__, reverse=True)
    return order + [row for row in seen if row not in fused]


def _collapse(
    videos: StoredVideos, order: Sequence[int], least: float | None
) -> tuple[list[int], dict[int, int]]:
    """Leave out rows that are nearly the same as a better one.

    Args:
        videos: The videos.
        order: Rows of them, the best first.
        least: Cosine from which on they are; None leaves all.

    Returns:
        The rows that stay, and how many were left out for each.
    """
    if least is None or not order:
        return list(order), {}
    kept: list[int] = []
    left_out: dict[int, int] = {}
    for row in order:
        cosines = videos.pooled[kept] @ videos.pooled[row]
        if kept and cosines.max() >= least:
            better = kept[int(cosines.argmax())]
            left_out[better] = left_out.get(better, 0) + 1
        else:
            kept.append(row)
    return kept, left_out


def search_combined(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    examples: Sequence[StoredVideos],
    unlike: Sequence[str],
    selection: Selection,
) -> list[SearchResult]:
    """Find what fits several wishes at once.

    The candidates are the neighbours of each wish. What each gives them is
    brought to mean 0 and deviation 1 over the candidates and added; of what
    is not wanted only that counts which lies above the mean.

    Args:
        store: The index.
        encoder: The model that filled it.
        texts: What is to be seen.
        examples: Videos that the results are to be like, one row each.
        unlike: What is not to be seen.
        selection: Which results; they come from the candidates alone.

    Returns:
        The results by this sum, the best first.

    Raises:
        SetupError: Nothing is wanted, or a text is empty.
    """
    if not texts and not examples:
        raise SetupError('say what is to be seen, not only what is not')
    matching = _find_matching(store, selection)
    wishes = [*texts, *unlike]
    features = (
        encoder.encode_texts(wishes).features.to('cpu') if wishes else None
    )
    vectors = [each.pooled[0] for each in examples]
    if features is not None:
        vectors += list(features.pooled[: len(texts)].float().numpy())
    scope = replace(selection, top_k=1, offset=0)
    near = _find_near(_asker(store, np.stack(vectors), matching), scope)
    contents = dict.fromkeys(each for found in near for each in found)
    videos = _read_sound(store, list(contents))
    total = np.zeros(len(videos.contents), np.float32)
    if not len(total):
        return []
    for example in examples:
        total += _standardize(videos.pooled @ example.pooled[0])
    has_frames = all(map(len, videos.tokens))
    for number in range(len(wishes)):
        query = features.select(torch.tensor([number]))
        if has_frames:
            scores = encoder.score(query, to_features(videos))[0].numpy()
            _check_scores(store, scores, encoder.score_range)
        else:
            scores = videos.pooled @ query.pooled[0].float().numpy()
        gain = _standardize(scores)
        total += gain if number < len(texts) else -np.maximum(gain, 0)
    order = _order_videos(videos, total)
    order, near_copies = _collapse(videos, order, selection.distinct)
    page = order[selection.offset : selection.end]
    ranking = _Ranking(videos, total, page, selection.offset, near_copies)
    (results,) = _to_results(store, [ranking], matching)
    return results


def _asker(
    store: VideoStore,
    vectors: np.ndarray,
    matching: dict[str, set[str]] | None,
) -> Callable[[int], list[list[str]]]:
    """What gives so many neighbours of vectors (Q, D)."""

    def ask(count: int) -> list[list[str]]:
        if matching is None:
            return _names(store.nearest_each(vectors, count))
        return _names(store.nearest_within(vectors, count, matching.keys()))

    return ask


def _order_videos(videos: StoredVideos, scores: np.ndarray) -> list[int]:
    """Rows by score, of a long video its best window, or the whole."""
    best: dict[str, int] = {}
    for row in np.argsort(-scores, kind='stable').tolist():
        best.setdefault(whole_content(videos.contents[row]), row)
    return list(best.values())


def _standardize(scores: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1; zeros where all are alike."""
    return (scores - scores.mean()) / max(float(scores.std()), 1e-6)


def _read_sound(store: VideoStore, contents: Sequence[str]) -> StoredVideos:
    videos = store.read_videos(contents)
    fault = find_fault(videos)
    if fault:
        raise DamagedIndexError(store.url, fault)
    return videos


def _check_scores(
    store: VideoStore, scores: np.ndarray, limits: tuple[float, float]
) -> None:
    """Refuse what no sound features can give.

    Raises:
        DamagedIndexError: A score is not finite, or outside its limits.
    """
    low, high = limits
    possible = (scores > low - TOLERANCE) & (scores < high + TOLERANCE)
    if not (possible & np.isfinite(scores)).all():
        worst = scores[~(possible & np.isfinite(scores))][0]
        raise DamagedIndexError(
            store.url,
            f'a score of {worst:g}, which this model gives from {low:g} to '
            f'{high:g}',
        )


def search_similar(
    store: VideoStore,
    video: StoredVideos,
    top_k: int,
    candidates: int,
    **options: Any,
) -> list[SearchResult]:
    """Find the videos that are most like one.

    Args:
        store: The index.
        video: Features of one video.
        top_k: How many results.
        candidates: How many neighbours of each part are compared as wholes.
        **options: ``offset`` and ``where`` of :class:`Selection`.

    Returns:
        The results, the best first, by the cosine of pooled vectors.
    """
    selection = Selection(top_k, candidates=candidates, **options)
    matching = _find_matching(store, selection)
    parts = part_vectors(
        video.pooled[0], video.tokens[0], store.read_info()['parts']
    )
    near = _find_near(_asker(store, parts, matching), selection)
    contents = dict.fromkeys(each for found in near for each in found)
    found = _read_sound(store, list(contents))
    scores = found.pooled @ video.pooled[0]
    _check_scores(store, scores, COSINES)
    order = _order_videos(found, scores)
    order, near_copies = _collapse(found, order, selection.distinct)
    page = order[selection.offset : selection.end]
    ranking = _Ranking(found, scores, page, selection.offset, near_copies)
    (results,) = _to_results(store, [ranking], matching)
    return results


def without(
    results: Sequence[SearchResult],
    path: str,
    span: tuple[float | None, float | None] | None = None,
) -> list[SearchResult]:
    """Leave one file out of results, and renumber the ranks of the others.

    Copies of it stay.

    Args:
        results: The results.
        path: The file.
        span: Leave out this span of it alone; None for all spans.
    """
    others = []
    for result in results:
        paths = [result.path, *result.copies]
        if span is None or span == (result.start, result.end):
            paths = [each for each in paths if each != path]
        if paths:
            first, *copies = paths
            rank = len(others) + 1
            changes = dict(path=first, copies=tuple(copies), rank=rank)
            others.append(replace(result, **changes))
    return others


def to_features(videos: StoredVideos) -> TokenFeatures:
    """Pad the tokens of N videos to those of the longest."""
    count = len(videos.tokens)
    length = max(len(each) for each in videos.tokens)
    tokens = np.zeros((count, length, videos.pooled.shape[1]), np.float32)
    mask = np.zeros((count, length), bool)
    for row, each in enumerate(videos.tokens):
        tokens[row, : len(each)] = each
        mask[row, : len(each)] = True
    return TokenFeatures(
        torch.from_numpy(tokens),
        torch.from_numpy(mask),
        torch.from_numpy(videos.pooled),
    )


def choose_row(
    encoder: RetrievalEncoder, text: str, videos: StoredVideos
) -> StoredVideos:
    """Choose what a text finds of a video: the whole, or its best window.

    Args:
        encoder: The model.
        text: The text.
        videos: The whole, and perhaps windows; all of them have frames.

    Returns:
        One row of them.
    """
    if len(videos.contents) == 1:
        return videos
    query = encoder.encode_texts([text]).features
    scores = encoder.score(query, to_features(videos))[0]
    return videos.select([int(scores.argmax())])


@dataclass(frozen=True)
class _Ranking:
    """Videos and their scores for a query.

    Attributes:
        videos: At least those of the page.
        scores: Of the videos.
        order: Rows of the page, the best first.
        offset: How many were on the pages before.
        near_copies: How many were left out for a row.
        query: Features of a text.
        words: The words of it.
        text: The text itself.
        seen: Contents that were found by what is seen.
        said: Contents that were found by their texts.
        by_head: Whether the head gave the scores, not the pooled vectors.
    """

    videos: StoredVideos
    scores: np.ndarray
    order: list[int]
    offset: int = 0
    near_copies: Mapping[int, int] = field(default_factory=dict)
    query: TokenFeatures | None = None
    words: Sequence[QueryWord] = ()
    text: str = ''
    seen: Container[str] = ()
    said: Container[str] = ()
    by_head: bool = False

    @property
    def contents(self) -> list[str]:
        """The videos of the page."""
        return [whole_content(self.videos.contents[row]) for row in self.order]


def lay_out_video(
    store: VideoStore,
    encoder: RetrievalEncoder,
    query: TokenFeatures,
    videos: StoredVideos,
) -> Timeline:
    """Compare a text with all frames of a video; see :func:`lay_out`.

    Args:
        store: The index.
        encoder: The model.
        query: Features of one text.
        videos: The video as a whole, and behind it its windows.

    Raises:
        SetupError: The index has no frames of it.
    """
    if len(videos.contents) > 1:
        # Frames of the whole are far apart, and in none of the windows.
        videos = videos.select(range(1, len(videos.contents)))
    if not all(map(len, videos.tokens)):
        raise SetupError(
            f'the index {store.url} has one vector of a video and no frames, '
            'from which moments are found: index the videos again with '
            '`mmtvr index CONFIG VIDEOS --into INDEX`, or import features '
            'with tokens and times'
        )
    scores = encoder.score(query, to_features(videos))[0].numpy()
    _check_scores(store, scores, encoder.score_range)
    return lay_out(query, videos, scores, encoder.compares == 'tokens')


def _to_results(
    store: VideoStore,
    rankings: Sequence[_Ranking],
    matching: dict[str, set[str]] | None = None,
    encoder: RetrievalEncoder | None = None,
) -> list[list[SearchResult]]:
    """Name the files, and find moments if there is an encoder."""
    contents = [content for each in rankings for content in each.contents]
    files = _files_by_content(store, contents)
    if matching is not None:
        files = {
            content: [e for e in entries if e[1].key in matching[content]]
            for content, entries in files.items()
            if content in matching
        }
    first = [e[0][1].key for e in files.values() if e]
    metadata = store.find_metadata(first)

    def find(
        ranking: _Ranking, file: FileEntry, row: int
    ) -> tuple[tuple[Moment, ...], float | None]:
        if encoder is None or ranking.query is None:
            return (), None
        query, videos = ranking.query, ranking.videos.select([row])
        if file.windows or not ranking.by_head:
            if file.windows:
                videos = _read_sound(store, file.contents)
            timeline = lay_out_video(store, encoder, query, videos)
        else:
            # The head has scored it among the candidates.
            scores = ranking.scores[[row]]
            by_words = encoder.compares == 'tokens'
            timeline = lay_out(query, videos, scores, by_words)
        return tuple(choose_shown(timeline)), timeline.step

    return [
        _name_files(ranking, files, metadata, find) for ranking in rankings
    ]


def _name_files(
    ranking: _Ranking,
    files: Mapping[str, Sequence[tuple[bool, FileEntry]]],
    metadata: Mapping[str, Metadata],
    find: Callable[..., tuple[tuple[Moment, ...], float | None]],
) -> list[SearchResult]:
    videos, query = ranking.videos, ranking.query
    results = []
    for row, content in zip(ranking.order, ranking.contents, strict=True):
        entries = files.get(content)
        if not entries:
            # It has left the index since.
            continue
        (is_gone, file), *copies = entries
        moment, seen = None, ()
        tokens, times = videos.tokens[row], videos.times[row]
        if query is not None and len(tokens):
            cosines = tokens @ query.pooled[0].float().numpy()
            moment = float(times[cosines.argmax()])
            seen = _find_word_moments(query, ranking.words, tokens, times)
        moments, step = find(ranking, file, row)
        about = metadata.get(file.key)
        snippet, snippet_time = '', None
        if content in ranking.said and about is not None:
            snippet, snippet_time = find_snippet(about, ranking.text)
        matched = tuple(
            name
            for name, found in (
                ('video', ranking.seen),
                ('text', ranking.said),
            )
            if content in found
        )
        results.append(
            SearchResult(
                path=file.path,
                score=float(ranking.scores[row]),
                rank=ranking.offset + len(results) + 1,
                time=moment,
                words=seen,
                start=file.start,
                end=file.end,
                copies=tuple(copy.path for _, copy in copies),
                is_gone=is_gone,
                matched=matched,
                snippet=snippet,
                snippet_time=snippet_time,
                fields={} if about is None else about.columns,
                near_copies=ranking.near_copies.get(row, 0),
                key=file.key,
                source=file.source,
                moments=moments,
                moment_step=step,
            )
        )
    return results


def _files_by_content(
    store: VideoStore, contents: Sequence[str]
) -> dict[str, list[tuple[bool, FileEntry]]]:
    """Whether each is gone, and the files; those that are there first."""
    files = defaultdict(list)
    for entry in store.find_files(contents):
        files[entry.content].append((entry.is_gone, entry))
    for copies in files.values():
        copies.sort(key=lambda each: (each[0], each[1].path))
    return files


def _find_word_moments(
    query: TokenFeatures,
    words: Sequence[QueryWord],
    tokens: np.ndarray,
    times: np.ndarray,
) -> tuple[WordMoment, ...]:
    """Find for each key word, the mean of its pieces, the frame most like it.

    Args:
        query: Features of one text.
        words: The words of it.
        tokens: Shape (T, D), the frames.
        times: Shape (T,), seconds.
    """
    cosines = query.tokens[0][query.mask[0]].float().numpy() @ tokens.T
    moments = []
    for word in words:
        if word.is_key:
            row = cosines[list(word.pieces)].mean(0)
            time, score = times[row.argmax()], row.max()
            moments.append(
                WordMoment(word.text, word.weight, float(time), float(score))
            )
    return tuple(moments)


PathLike = str | os.PathLike[str]
QUERIES = (
    'a .npy with vectors (Q, D), or a .npz with text (Q, D), the vectors of '
    'the queries, and optionally texts (Q,)'
)


def read_queries(path: PathLike) -> tuple[np.ndarray, list[str]]:
    """Read query vectors that the encoder of imported features made.

    Args:
        path: A ``.npy`` with vectors (Q, D), or a ``.npz`` with ``text``
            (Q, D) and, optionally, ``texts`` (Q,), strings.

    Returns:
        The vectors, and a name for each.

    Raises:
        SetupError: There is no file, or it is neither.
    """
    content = load_arrays(Path(path), QUERIES)
    if isinstance(content, np.ndarray):
        content = dict(text=content)
    if 'text' not in content:
        raise SetupError(f'{path} holds {sorted(content)}; expected {QUERIES}')
    vectors = content['text']
    if vectors.ndim != 2:
        raise SetupError(
            f'{path} holds vectors of shape {vectors.shape}; expected '
            f'{QUERIES}'
        )
    texts = content.get('texts')
    if texts is not None and texts.shape == (len(vectors),):
        return vectors, list(map(str, texts.tolist()))
    return vectors, [f'vector {number}' for number in range(len(vectors))]


def search_by_vectors(
    index: PathLike,
    vectors: np.ndarray,
    top_k: int = 10,
    candidates: int = 100,
    *,
    where: str | None = None,
    offset: int = 0,
) -> list[list[SearchResult]]:
    """Search an index without its model, by vectors.

    Args:
        index: The folder or the address of an index.
        vectors: Shape (Q, D), floating point, made by the encoder that made
            the features of the index.
        top_k: How many results for each.
        candidates: How many neighbours are compared as whole videos.
        where: A condition on the columns of the videos.
        offset: How many of the best are left out.

    Returns:
        For each vector its results by cosine with the pooled vectors, the
        best first.

    Raises:
        SetupError: There is no index, the vectors do not fit, or a number is
            below 1.

    Example:
        >>> import numpy as np
        >>> vectors = np.random.default_rng(0).standard_normal((2, 96))
        >>> found = search_by_vectors(where, vectors, top_k=3)
        >>> [len(results) for results in found]
        [3, 3]
    """
    require_at_least(1, top_k=top_k, candidates=candidates)
    store = open_store(index)
    width = store.require_info()['width']
    condition = parse_where(store, where)
    nothing = np.zeros((0, width), np.float32)
    return [
        search_similar(
            store,
            StoredVideos([''], row[None], [nothing], [nothing[:, 0]]),
            top_k,
            candidates,
            where=condition,
            offset=offset,
        )
        for row in _to_unit(vectors, width)
    ]


def _to_unit(vectors: np.ndarray, width: int) -> np.ndarray:
    shape, kind = vectors.shape, vectors.dtype
    if len(shape) != 2 or shape[1] != width or kind.kind != 'f':
        raise SetupError(
            f'queries are {kind} of shape {shape}, the features of the index '
            f'have {width} dimensions: expected floating point (Q, {width})'
        )
    vectors = vectors.astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise SetupError('a query vector is zero or not finite')
    return vectors / lengths[:, None]


def search_by_name(
    index: PathLike,
    name: str,
    top_k: int = 10,
    candidates: int = 100,
    *,
    where: str | None = None,
    offset: int = 0,
) -> list[SearchResult]:
    """Find the videos that are most like one of the index, without a model.

    Args:
        index: The folder or the address of an index.
        name: The video as the index names it.
        top_k: How many results.
        candidates: How many neighbours are compared as whole videos.
        where: A condition on the columns of the videos.
        offset: How many of the best are left out.

    Returns:
        The results by cosine, the best first, the video itself left out.

    Raises:
        SetupError: There is no index, it has no such video, or a number is
            below 1.
    """
    require_at_least(1, top_k=top_k, candidates=candidates)
    store = open_store(index)
    store.require_info()
    entry = store.find_entry(FileEntry(name, '').key)
    if entry is None:
        spans = sum(each.path == name for each in store.list_files())
        why = f'{spans} spans of it; search with a vector of one of them'
        raise SetupError(
            f'{store.url} has no video named {name!r}'
            + (f', but {why}' if spans else '')
        )
    video = store.read_videos([entry.content])
    found = search_similar(
        store,
        video,
        offset + top_k + 1,
        candidates,
        where=parse_where(store, where),
    )
    return without(found, name)[offset : offset + top_k]
