"""Videos that come first whatever is asked, and what takes that away."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.stores.base import FileEntry, VideoStore, require_at_least
from mmtvr.structures import concatenate

# Videos whose features, and texts whose scores, are in memory at a time.
VIDEOS_AT_ONCE = 512
TEXTS_AT_ONCE = 64


def measure_hubness(
    store: VideoStore,
    encoder: RetrievalEncoder,
    texts: Sequence[str],
    neighbours: int,
) -> int:
    """Measure how close each video is to the reference texts closest to it.

    The one number per video of nearest neighbor normalization
    (arXiv:2410.24114), the mean of its largest scores, kept with the entries
    of its files. A file that is indexed later has none until this runs again.

    Args:
        store: The index; it must be locked.
        encoder: The model that filled it.
        texts: Reference texts, at least one; not those that are searched for.
        neighbours: How many of the largest scores are averaged.

    Returns:
        The number of files.

    Raises:
        SetupError: ``neighbours`` is below 1.
    """
    from mmtvr.search.query import to_features

    require_at_least(1, neighbours=neighbours)
    queries = concatenate(
        [
            encoder.extract_texts(texts[first : first + TEXTS_AT_ONCE])
            for first in range(0, len(texts), TEXTS_AT_ONCE)
        ]
    )
    entries = [each for each in store.list_files() if each.error is None]
    of_content: dict[str, list[FileEntry]] = {}
    for entry in entries:
        of_content.setdefault(entry.content, []).append(entry)
    contents = list(of_content)
    for first in range(0, len(contents), VIDEOS_AT_ONCE):
        videos = store.read_videos(contents[first : first + VIDEOS_AT_ONCE])
        if all(map(len, videos.tokens)):
            scores = encoder.score(queries, to_features(videos))
        else:
            pooled = torch.from_numpy(videos.pooled)
            scores = queries.pooled.cpu().float() @ pooled.T
        count = min(neighbours, len(texts))
        found = scores.topk(count, dim=0).values.mean(dim=0).tolist()
        store.put_files(
            [
                replace(entry, hubness=value)
                for content, value in zip(videos.contents, found, strict=True)
                for entry in of_content[content]
            ]
        )
    store.compact()
    return len(entries)


def correct_hubs(
    store: VideoStore,
    contents: Sequence[str],
    scores: np.ndarray,
    alpha: float,
) -> np.ndarray:
    """Subtract from scores what videos get whatever is asked.

    Args:
        store: The index.
        contents: N contents.
        scores: Shape (N,).
        alpha: How much of their hubness.

    Returns:
        Shape (N,). A video of unknown hubness counts as a common one; where
        none is known the scores stay as they are.
    """
    known = {
        entry.content: entry.hubness
        for entry in store.find_files(contents)
        if entry.hubness is not None
    }
    if not known:
        return scores
    usual = float(np.mean(list(known.values())))
    bias = np.array([known.get(content, usual) for content in contents])
    return scores - alpha * bias
