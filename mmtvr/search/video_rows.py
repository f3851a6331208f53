"""Features of videos as rows of an Arrow table."""

from typing import TYPE_CHECKING

import numpy as np

from mmtvr.search.parts import part_vectors
from mmtvr.search.records import StoredVideos
from mmtvr.search.token_bytes import pack_tokens, unpack_tokens

if TYPE_CHECKING:
    import pyarrow as pa


def video_schema(width: int) -> 'pa.Schema':
    """Columns: a row for each part, the features in that of part 0.

    Args:
        width: D.

    Returns:
        The schema.
    """
    import pyarrow as pa

    return pa.schema(
        [
            ('content', pa.string()),
            ('part', pa.int16()),
            ('vector', pa.list_(pa.float16(), width)),
            ('pooled', pa.large_binary()),
            ('tokens', pa.large_binary()),
            ('times', pa.list_(pa.float32())),
        ]
    )


def to_rows(videos: StoredVideos, parts: int, precision: str) -> 'pa.Table':
    """Lay features out.

    Args:
        videos: The features.
        parts: Vectors of the first stage that are wanted of a video.
        precision: How tokens are kept.

    Returns:
        The rows of :func:`video_schema`.
    """
    import pyarrow as pa

    columns: list[list] = [[], [], [], [], [], []]
    for content, pooled, tokens, times in zip(*videos, strict=True):
        features = [
            pooled.astype('<f2').tobytes(),
            pack_tokens(tokens, precision),
            times,
        ]
        for number, vector in enumerate(part_vectors(pooled, tokens, parts)):
            row = [content, number, vector.astype(np.float16), *features]
            features = [None] * len(features)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    width = videos.pooled.shape[1]
    schema = video_schema(width)
    vectors = pa.array(np.concatenate(columns[2]))
    columns[2] = pa.FixedSizeListArray.from_arrays(vectors, width)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, kind)
        for column, kind in zip(columns, schema.types, strict=True)
    ]
    return pa.table(arrays, schema=schema)


def from_rows(rows: 'pa.Table', width: int, precision: str) -> StoredVideos:
    """Read features back.

    Args:
        rows: Rows of part 0.
        width: D.
        precision: How tokens are kept.

    Returns:
        The features.
    """
    pooled = b''.join(rows['pooled'].to_pylist())
    return StoredVideos(
        rows['content'].to_pylist(),
        np.frombuffer(pooled, '<f2').reshape(-1, width).astype(np.float32),
        [
            unpack_tokens(each, width, precision)
            for each in rows['tokens'].to_pylist()
        ],
        [np.asarray(each, np.float32) for each in rows['times'].to_pylist()],
    )
