"""Search in two stages: nearest vectors, then the head of the model."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation
from mmtvr.files import load_arrays
from mmtvr.search.encoder import QueryWord, RetrievalEncoder
from mmtvr.search.hubness import correct_hubs
from mmtvr.search.moments import Moment, Timeline, choose_shown, lay_out
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import (
    TOLERANCE,
    DamagedIndexError,
    FileEntry,
    StoredVideos,
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
# How many times as many candidates may be compared where windows of few long
# videos are all that is near.
MOST_CANDIDATES = 16


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
    others: dict[str, int] = field(default_factory=dict)
    windows: int = 0
    unreadable_windows: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, dicts, strings and numbers, for JSON."""
        return asdict(self)


def search_texts(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    top_k: int,
    candidates: int,
    moments: bool = False,
    nnn: float = 0.0,
) -> list[list[SearchResult]]:
    """Find the videos of some texts.

    Args:
        store: The index.
        encoder: The model that filled it.
        texts: The queries.
        top_k: How many results for each.
        candidates: How many videos, those most like the sentence and the
            words, the head compares exactly.
        nnn: How much of the hubness of a video counts against it, where it
            was measured. The scores of the results are those of the head.
        moments: Whether to find from when to when each result shows what the
            text says.

    Returns:
        For each text its results, the best first.

    Raises:
        SetupError: Moments are asked for, and the index has no frames.
    """
    results = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        some = texts[first : first + TEXTS_AT_ONCE]
        results += _search_some(
            store, encoder, some, top_k, candidates, moments, nnn
        )
    return results


def _search_some(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    top_k: int,
    candidates: int,
    moments: bool,
    nnn: float,
) -> list[list[SearchResult]]:
    """Ask the store three times, however many texts there are.

    For moments, once more for each long video that was found.
    """
    encoded = encoder.encode_texts(texts)
    text, words = encoded.features.to('cpu'), encoded.words
    vectors = text.pooled.float().numpy()
    queries = encoder.query_vectors(encoded)
    near = _find_contents(
        lambda count: store.find_candidates(queries, count), candidates, top_k
    )
    different = list(dict.fromkeys(each for found in near for each in found))
    videos = _read_sound(store, different)
    rows = {content: row for row, content in enumerate(videos.contents)}
    rankings = []
    for number, vector in enumerate(vectors):
        own = videos.select([rows[c] for c in near[number] if c in rows])
        query = text.select(torch.tensor([number]))
        limits = COSINES
        if own.contents and all(map(len, own.tokens)):
            scores = encoder.score(query, to_features(own))[0].numpy()
            limits = encoder.score_range
        else:
            scores = own.pooled @ vector
        _check_scores(store, scores, limits)
        order_by = scores
        if nnn:
            wholes = list(map(whole_content, own.contents))
            order_by = correct_hubs(store, wholes, scores, nnn)
        rankings.append(
            _Ranking(own, scores, top_k, query, words[number], order_by)
        )
    return _to_results(store, rankings, encoder if moments else None)


def _find_contents(
    find: Callable[[int], list[list[str]]], candidates: int, top_k: int
) -> list[list[str]]:
    """Ask for candidates until they are of ``top_k`` videos, if there are.

    The windows of one long video may be nearer than all others.

    Args:
        find: From a number to so many contents of each query.
        candidates: How many are enough where they are of ``top_k`` videos.
        top_k: How many videos.
    """
    count = max(candidates, top_k)
    most = MOST_CANDIDATES * count
    while True:
        near = find(count)
        # Fewer than asked: there are no more.
        crowded = any(
            len(found) == count and len(set(map(whole_content, found))) < top_k
            for found in near
        )
        if not crowded or count >= most:
            return near
        count *= 4


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
    store: VideoStore, video: StoredVideos, top_k: int, candidates: int
) -> list[SearchResult]:
    """Find the videos that are most like one.

    Args:
        store: The index.
        video: Features of one video.
        top_k: How many results.
        candidates: How many neighbours of each part are compared as wholes.

    Returns:
        The results, the best first, by the cosine of pooled vectors.
    """
    parts = part_vectors(
        video.pooled[0], video.tokens[0], store.read_info()['parts']
    )

    def find(count: int) -> list[list[str]]:
        near = store.nearest_each(parts, count)
        return [[content for content, _ in each] for each in near]

    found_contents = _find_contents(find, candidates, top_k)
    contents = {each: None for near in found_contents for each in near}
    found = _read_sound(store, list(contents))
    scores = found.pooled @ video.pooled[0]
    _check_scores(store, scores, COSINES)
    (results,) = _to_results(store, [_Ranking(found, scores, top_k)])
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


class _Ranking:
    """Videos and their scores for a query, the best ``top_k`` first."""

    def __init__(
        self,
        videos: StoredVideos,
        scores: np.ndarray,
        top_k: int,
        query: TokenFeatures | None = None,
        words: Sequence[QueryWord] = (),
        order_by: np.ndarray | None = None,
    ) -> None:
        if order_by is None:
            order_by = scores
        self.videos, self.scores = videos, scores
        self.query, self.words = query, words
        best: dict[str, int] = {}
        for row in np.argsort(-order_by, kind='stable').tolist():
            # Of a long video its best window, or the whole.
            best.setdefault(whole_content(videos.contents[row]), row)
        self.order = list(best.values())[:top_k]

    @property
    def contents(self) -> list[str]:
        """The contents of the best videos."""
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
    encoder: RetrievalEncoder | None = None,
) -> list[list[SearchResult]]:
    """Name the files, and find moments if there is an encoder."""
    files = _files_by_content(
        store, [content for each in rankings for content in each.contents]
    )

    def find(
        ranking: _Ranking, file: FileEntry, row: int
    ) -> tuple[tuple[Moment, ...], float | None]:
        if encoder is None or ranking.query is None:
            return (), None
        if file.windows:
            videos = _read_sound(store, file.contents)
        else:
            videos = ranking.videos.select([row])
        timeline = lay_out_video(store, encoder, ranking.query, videos)
        return tuple(choose_shown(timeline)), timeline.step

    return [_name_files(ranking, files, find) for ranking in rankings]


def _name_files(
    ranking: _Ranking,
    files: dict[str, list[tuple[bool, FileEntry]]],
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
        results.append(
            SearchResult(
                path=file.path,
                score=float(ranking.scores[row]),
                rank=len(results) + 1,
                time=moment,
                words=seen,
                start=file.start,
                end=file.end,
                copies=tuple(copy.path for _, copy in copies),
                is_gone=is_gone,
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
) -> list[list[SearchResult]]:
    """Search an index without its model, by vectors.

    Args:
        index: The folder or the address of an index.
        vectors: Shape (Q, D), floating point, made by the encoder that made
            the features of the index.
        top_k: How many results for each.
        candidates: How many neighbours are compared as whole videos.

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
    nothing = np.zeros((0, width), np.float32)
    return [
        search_similar(
            store,
            StoredVideos([''], row[None], [nothing], [nothing[:, 0]]),
            top_k,
            candidates,
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
    index: PathLike, name: str, top_k: int = 10, candidates: int = 100
) -> list[SearchResult]:
    """Find the videos that are most like one of the index, without a model.

    Args:
        index: The folder or the address of an index.
        name: The video as the index names it.
        top_k: How many results.
        candidates: How many neighbours are compared as whole videos.

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
    found = search_similar(store, video, top_k + 1, candidates)
    return without(found, name)[:top_k]
