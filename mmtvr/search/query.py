"""Search in two stages: nearest vectors, then the head of the model."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from mmtvr.explanation import Explanation
from mmtvr.search.encoder import QueryWord, RetrievalEncoder
from mmtvr.search.stores.base import (
    FileEntry,
    StoredVideos,
    VideoStore,
    part_vectors,
)
from mmtvr.structures import TokenFeatures


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
    """

    path: str
    score: float
    rank: int
    time: float | None = None
    words: tuple[WordMoment, ...] = ()
    start: float | None = None
    end: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
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
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
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
        removed: Files that are gone and were taken out of the index.
        unreadable: Path and reason of each file that could not be read.
        skipped: How many of these were not tried again, since they are as
            they were.
        seconds: How long it took.
    """

    videos: int
    encoded: int
    reused: int
    unchanged: int
    removed: int
    unreadable: dict[str, str]
    skipped: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, dicts, strings and numbers, for JSON.

        Returns:
            The fields by name.
        """
        return asdict(self)


def find_moment(
    query: TokenFeatures, tokens: np.ndarray, times: np.ndarray
) -> float:
    """Find the frame that is most like the whole text.

    Args:
        query: Features of one text.
        tokens: Shape (T, D), the frames.
        times: Shape (T,), seconds.

    Returns:
        Its time in seconds.
    """
    return float(times[sentence_cosines(query, tokens).argmax()])


def sentence_cosines(query: TokenFeatures, tokens: np.ndarray) -> np.ndarray:
    """Compare the whole text with each frame.

    Args:
        query: Features of one text.
        tokens: Shape (T, D), the frames.

    Returns:
        Shape (T,).
    """
    return tokens @ query.pooled[0].float().numpy()


def word_cosines(
    query: TokenFeatures, words: Sequence[QueryWord], tokens: np.ndarray
) -> np.ndarray:
    """Compare each word, the mean over its pieces, with each frame.

    Args:
        query: Features of one text.
        words: W words of it.
        tokens: Shape (T, D), the frames.

    Returns:
        Shape (W, T).
    """
    pieces = query.tokens[0][query.mask[0]].float().numpy() @ tokens.T
    rows = [pieces[list(word.pieces)].mean(0) for word in words]
    return np.array(rows, np.float32).reshape(len(words), len(tokens))


def find_word_moments(
    query: TokenFeatures,
    words: Sequence[QueryWord],
    tokens: np.ndarray,
    times: np.ndarray,
) -> tuple[WordMoment, ...]:
    """Find for each key word the frame that is most like it.

    Args:
        query: Features of one text.
        words: The words of it.
        tokens: Shape (T, D), the frames.
        times: Shape (T,), seconds.

    Returns:
        One for each key word, in the order of the text.
    """
    keys = [word for word in words if word.is_key]
    cosines = word_cosines(query, keys, tokens)
    return tuple(
        WordMoment(
            word.text,
            word.weight,
            time=float(times[row.argmax()]),
            score=float(row.max()),
        )
        for word, row in zip(keys, cosines, strict=True)
    )


def search_texts(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    top_k: int,
    candidates: int,
) -> list[list[SearchResult]]:
    """Find the videos of some texts.

    Args:
        store: The index.
        encoder: The model that filled it.
        texts: The queries.
        top_k: How many results for each.
        candidates: How many neighbours of the pooled vectors the head
            compares exactly.

    Returns:
        For each text its results, the best first.
    """
    features, words = encoder.encode_texts(texts)
    text = features.to('cpu')
    results = []
    for row, vector in enumerate(text.pooled.float().numpy()):
        found = store.nearest(vector, max(candidates, top_k))
        videos = store.read_videos([content for content, _ in found])
        query = text.select(torch.tensor([row]))
        scores = rescore(encoder, query, videos)
        results.append(
            _to_results(store, videos, scores, top_k, query, words[row])
        )
    return results


def rescore(
    encoder: RetrievalEncoder, query: TokenFeatures, videos: StoredVideos
) -> np.ndarray:
    """Compare one text with its candidates by the head.

    Args:
        encoder: The model.
        query: Features of one text.
        videos: N candidates.

    Returns:
        Shape (N,). The cosines of pooled vectors where a candidate has no
        tokens.
    """
    if not videos.contents or not all(len(each) for each in videos.tokens):
        return videos.pooled @ query.pooled[0].float().numpy()
    return encoder.score(query, to_features(videos))[0].numpy()


def to_features(videos: StoredVideos) -> TokenFeatures:
    """Pad the tokens of videos to those of the longest.

    Args:
        videos: N videos.

    Returns:
        Features of N videos.
    """
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
    contents = {
        content: None
        for part in parts
        for content, _ in store.nearest(part, max(candidates, top_k))
    }
    found = store.read_videos(list(contents))
    scores = found.pooled @ video.pooled[0]
    return _to_results(store, found, scores, top_k)


def without(results: Sequence[SearchResult], path: str) -> list[SearchResult]:
    """Leave one file out.

    Args:
        results: Results, the best first.
        path: The file.

    Returns:
        The other ones, ranked anew.
    """
    others = [result for result in results if result.path != path]
    return [
        replace(result, rank=rank)
        for rank, result in enumerate(others, start=1)
    ]


def _to_results(
    store: VideoStore,
    videos: StoredVideos,
    scores: np.ndarray,
    top_k: int,
    query: TokenFeatures | None = None,
    words: Sequence[QueryWord] = (),
) -> list[SearchResult]:
    order = np.argsort(-scores, kind='stable')[:top_k].tolist()
    files = _files_by_content(store, [videos.contents[row] for row in order])
    results = []
    for row, file in _each_file(order, videos, files):
        moment, seen = None, ()
        if query is not None and len(videos.tokens[row]):
            tokens, times = videos.tokens[row], videos.times[row]
            moment = find_moment(query, tokens, times)
            seen = find_word_moments(query, words, tokens, times)
        results.append(
            SearchResult(
                path=file.path,
                score=float(scores[row]),
                rank=len(results) + 1,
                time=moment,
                words=seen,
                start=file.start,
                end=file.end,
            )
        )
        if len(results) == top_k:
            break
    return results


def _files_by_content(
    store: VideoStore, contents: Sequence[str]
) -> dict[str, list[FileEntry]]:
    files = defaultdict(list)
    for entry in store.find_files(contents):
        files[entry.content].append(entry)
    return files


def _each_file(
    order: Sequence[int],
    videos: StoredVideos,
    files: dict[str, list[FileEntry]],
) -> Iterator[tuple[int, FileEntry]]:
    """All files of each content: copies are results of their own."""
    for row in order:
        for file in sorted(
            files.pop(videos.contents[row], ()), key=lambda f: f.path
        ):
            yield row, file
