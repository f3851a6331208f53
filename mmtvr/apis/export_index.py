"""Write an index as a file of features, with captions if there are any."""

import os
from pathlib import Path

from mmtvr.apis.open_searcher import open_searcher
from mmtvr.array_files import write_arrays
from mmtvr.errors import SetupError
from mmtvr.search.caption_features import encode_captions, place_captions
from mmtvr.search.feature_export import (
    check_export_path,
    list_readable,
    read_features,
)
from mmtvr.search.stores import open_store, require_index
from mmtvr.search.video_files import read_captioned

PathLike = str | os.PathLike[str]


def export_index(
    index: PathLike,
    path: PathLike,
    captions: PathLike | None = None,
    *,
    videos_folder: PathLike | None = None,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> dict[str, int]:
    """Write the features of an index for other tools.

    With captions, ``tools/evaluate.py`` reads the file: it compares pooled
    vectors by cosine, each caption with all videos of the index. That is all
    there is to a head that compares pooled vectors, and the first stage of
    others, which ``tools/test.py`` evaluates.

    Args:
        index: The folder or the address of an index.
        path: Ends in ``.npz``; see
            :func:`mmtvr.search.feature_export.read_features`.
        captions: An annotation file with captions of videos of the index.
            The model of the index encodes them, and the file gets ``text``
            (B, D) float32, ``texts`` (B,) strings and ``text_video_ids``
            (B,) int64.
        videos_folder: Where the videos of the annotation file are.
        checkpoint: Where the checkpoint of the index is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        How many videos and captions were written.

    Raises:
        SetupError: The index is missing or empty, lacks one of the videos, or
            changes while it is read, or its model is not to be found.
    """
    path, store = Path(path), open_store(index)
    about = require_index(store)
    check_export_path(path)
    entries = list_readable(store)
    if captions is None:
        write_arrays(path, read_features(store, entries))
        return dict(exported=len(entries))
    if about.get('imported'):
        raise SetupError(
            f'{store.url} holds imported features, whose model mmtvr does '
            'not have: it cannot encode captions. Export without --captions, '
            'and add their vectors of that model as text'
        )
    placed = place_captions(
        read_captioned(captions, videos_folder),
        entries,
        [each for each in store.list_files() if each.error is not None],
    )
    # Before captions are encoded, which may take long: others may index.
    content = read_features(store, entries)
    encoder = open_searcher(index, checkpoint, device).encoder
    text = encode_captions(encoder, placed['texts'].tolist())
    write_arrays(path, dict(content, **placed, text=text))
    return dict(exported=len(entries), captions=len(text))
