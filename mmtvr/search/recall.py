"""How many candidates the first of the exact ranking is among."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.query import to_features
from mmtvr.search.stores.base import StoredVideos, VideoStore

#: What an index keeps its ranks as among its facts.
FACT = 'first_stage'
# Texts that are searched for, and videos that are ranked exactly for each.
TEXTS = 200
VIDEOS = 2000
# With so many times as many videos the ranks are others.
GROWTH = 2


def measure_ranks(
    store: VideoStore, encoder: RetrievalEncoder, texts: Sequence[str]
) -> dict[str, Any]:
    """Find the place in the first stage of what the head finds best.

    Args:
        store: The index.
        encoder: The model that filled it.
        texts: What is searched for: at most 200 of these, drawn at random.
            The head compares each with all videos of the index, or with the
            2,000 that come first.

    Returns:
        ``ranks``, from 0, sorted, and how many ``videos`` the index has.
    """
    chosen = np.random.default_rng(0).permutation(len(texts))[:TEXTS]
    videos = StoredVideos([], np.zeros((0, 0)), [], [])
    ranks = []
    for number in chosen:
        encoded = encoder.encode_texts([texts[number]])
        query = encoder.query_vectors(encoded)
        (near,) = store.find_candidates(query, VIDEOS)
        if set(near) != set(videos.contents):
            videos = store.read_videos(near)
        text = encoded.features.to('cpu')
        if all(map(len, videos.tokens)):
            scores = encoder.score(text, to_features(videos))[0].numpy()
        else:
            scores = videos.pooled @ text.pooled[0].float().numpy()
        ranks.append(near.index(videos.contents[scores.argmax()]))
    return dict(ranks=sorted(ranks), videos=store.count_videos())


def count_candidates(
    measured: Mapping[str, Any] | None, recall: float, videos: int
) -> int:
    """How many candidates have the best among them for a share of texts.

    Args:
        measured: Of :func:`measure_ranks`; None where it was not.
        recall: The share, above 0 and at most 1.
        videos: How many the index has now.

    Raises:
        SetupError: It was not measured, or when the index was much smaller,
            or ``recall`` is no such share.
    """
    advice = (
        'measure it with captions of its videos (`mmtvr index --into INDEX '
        '--calibrate JSON`), or say how many candidates to compare'
    )
    if not 0 < recall <= 1:
        raise SetupError(f'recall must be above 0 and at most 1, got {recall}')
    if not measured:
        raise SetupError(
            'how many candidates a recall takes was not measured in this '
            f'index: {advice}'
        )
    if videos > GROWTH * measured['videos']:
        raise SetupError(
            'how many candidates a recall takes was measured when the index '
            f'had {measured["videos"]} videos, and now it has {videos}: '
            f'{advice}'
        )
    ranks = measured['ranks']
    return ranks[math.ceil(recall * len(ranks)) - 1] + 1
