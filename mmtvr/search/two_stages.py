"""Nearest neighbours of pooled vectors, then the head of the model."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.moments import find_moment, find_word_moments
from mmtvr.search.parts import part_vectors
from mmtvr.search.query_words import QueryWord
from mmtvr.search.records import FileEntry, StoredVideos
from mmtvr.search.results import SearchResult
from mmtvr.search.store import VideoStore
from mmtvr.structures import TokenFeatures


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
        video.pooled[0], video.tokens[0], store.read_about()['parts']
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
