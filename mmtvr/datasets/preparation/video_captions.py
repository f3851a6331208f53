"""What every preparation produces, and the file it is written to."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mmtvr.datasets.wording import has_word


@dataclass(frozen=True)
class VideoCaptions:
    """One video of a split with everything said about it.

    Attributes:
        file: File name below the videos folder.
        captions: At least one caption.
        start: Where the clip begins inside the file, in seconds.
        end: Where it ends, in seconds; None for the end of the file.
    """

    file: str
    captions: tuple[str, ...]
    start: float | None = None
    end: float | None = None

    def as_paragraph(self) -> 'VideoCaptions':
        """Join all captions by one space, as paragraph retrieval does."""
        return replace(self, captions=(' '.join(self.captions),))


@dataclass(frozen=True)
class CleaningReport:
    """What :func:`clean_captions` changed.

    Attributes:
        captions: Number of captions kept.
        whitespace: Captions in which runs of white space became one space.
        empty: Captions dropped because no word was left.
        videos_dropped: Names of videos dropped with their last caption.
    """

    captions: int
    whitespace: int
    empty: int
    videos_dropped: tuple[str, ...]


def clean_captions(
    videos: Iterable[VideoCaptions],
) -> tuple[list[VideoCaptions], CleaningReport]:
    """Collapse white space and drop captions that hold no word.

    Args:
        videos: A split as published.

    Returns:
        The cleaned split in the same order, and what was changed.
    """
    kept, dropped = [], []
    captions = whitespace = empty = 0
    for video in videos:
        texts = tuple(' '.join(text.split()) for text in video.captions)
        whitespace += sum(
            new != old for new, old in zip(texts, video.captions, strict=True)
        )
        words = tuple(text for text in texts if has_word(text))
        empty += len(texts) - len(words)
        captions += len(words)
        if words:
            kept.append(replace(video, captions=words))
        else:
            dropped.append(video.file)
    return kept, CleaningReport(captions, whitespace, empty, tuple(dropped))


def write_annotation(
    path: str | os.PathLike[str],
    videos: Iterable[VideoCaptions],
    about: Mapping[str, object],
) -> None:
    """Write one split, whole or not at all.

    Args:
        path: The JSON file.
        videos: The split, in the order that gives each video its number.
        about: What else the file tells of itself, such as ``dataset``,
            ``split`` and ``protocol``.
    """
    rows = []
    for video in videos:
        row = {'file': video.file, 'captions': list(video.captions)}
        if video.start is not None:
            row['start'] = video.start
        if video.end is not None:
            row['end'] = video.end
        rows.append(row)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        'w', dir=path.parent, delete=False, encoding='utf-8'
    ) as file:
        json.dump({**about, 'videos': rows}, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
