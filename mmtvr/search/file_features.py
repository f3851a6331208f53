"""Features of a video file, be it in an index or not."""

import os

from mmtvr.errors import SetupError
from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.file_changes import describe_file
from mmtvr.search.records import StoredVideos
from mmtvr.search.store import VideoStore
from mmtvr.search.video_files import FoundVideo


def find_features(
    store: VideoStore | None, encoder: RetrievalEncoder, path: str
) -> StoredVideos:
    """Take features from an index if the file is as it was, else encode it.

    Args:
        store: The index, if one is open.
        encoder: The model that filled it.
        path: The file.

    Returns:
        Features of one video.

    Raises:
        SetupError: The file cannot be read.
    """
    path = os.path.abspath(path)
    if store is not None:
        known = store.read_file(describe_file(FoundVideo(path)))
        if known.contents:
            return known
    (encoded,) = encoder.encode_videos([FoundVideo(path)])
    if encoded.error is not None:
        raise SetupError(f'{path} cannot be read: {encoded.error}')
    pooled, tokens, times = encoded.features
    return StoredVideos([encoded.content], pooled[None], [tokens], [times])
