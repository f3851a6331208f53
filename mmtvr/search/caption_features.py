"""Features of captions, beside those of the videos that they tell of."""

from collections.abc import Sequence

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.foreign_text import for_terminal
from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.records import FileEntry
from mmtvr.search.video_files import CaptionedVideo

BATCH = 64
SHOWN = 3

Clip = tuple[str, float | None, float | None]


def place_captions(
    videos: Sequence[CaptionedVideo],
    entries: Sequence[FileEntry],
    unreadable: Sequence[FileEntry] = (),
) -> dict[str, np.ndarray]:
    """Say which video of an index each caption belongs to.

    Args:
        videos: The videos of an annotation file.
        entries: The V readable entries of the index.
        unreadable: Its other entries.

    Returns:
        ``texts`` (B,), strings, and ``text_video_ids`` (B,), int64, from 0 to
        V - 1.

    Raises:
        SetupError: The index lacks one of the videos. Leaving its captions
            out would make an evaluation look better than it is.
    """
    places = {_clip(entry): place for place, entry in enumerate(entries)}
    broken = set(map(_clip, unreadable))
    clips = [tuple(each.video[i] for i in (0, 2, 3)) for each in videos]
    lacking = [clip for clip in clips if clip not in places]
    absent = [clip for clip in lacking if clip not in broken]
    if absent:
        raise SetupError(
            f'{_count(absent, clips)} are not in the index: {_name(absent)}. '
            'Index the annotation file itself first (`mmtvr index CONFIG '
            'ANNOTATION --into INDEX`)'
        )
    if lacking:
        raise SetupError(
            f'{_count(lacking, clips)} could not be read when they were '
            f'indexed: {_name(lacking)}. Mend them and index again, or take '
            'them out of the annotation file'
        )
    texts, ids = [], []
    for clip, (_, captions) in zip(clips, videos, strict=True):
        texts += captions
        ids += [places[clip]] * len(captions)
    return dict(texts=np.array(texts), text_video_ids=np.array(ids))


def _clip(entry: FileEntry) -> Clip:
    return entry.path, entry.start, entry.end


def _count(some: Sequence[Clip], clips: Sequence[Clip]) -> str:
    return f'{len(some)} of {len(clips)} videos with captions'


def _name(clips: Sequence[Clip]) -> str:
    named = [repr(for_terminal(path)) for path, _, _ in clips[:SHOWN]]
    return ', '.join(named) + (' ...' if len(clips) > SHOWN else '')


def encode_captions(
    encoder: RetrievalEncoder, texts: Sequence[str]
) -> np.ndarray:
    """Encode captions to pooled vectors, as queries are.

    Args:
        encoder: The model that filled the index.
        texts: B captions.

    Returns:
        Shape (B, D), float32, unit vectors.
    """
    batches = [
        encoder.encode_texts(texts[start : start + BATCH]).features.pooled
        for start in range(0, len(texts), BATCH)
    ]
    return np.concatenate([each.float().cpu().numpy() for each in batches])
