"""Your own videos as a data set: checked, divided, and what is alike in it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.caption_formats import (
    CaptionRow,
    CaptionSource,
    LeftOut,
    VideoNames,
    group_by_video,
)
from mmtvr.datasets.transforms.video import LoadVideoFrames
from mmtvr.datasets.video_check import find_unreadable
from mmtvr.errors import SetupError
from mmtvr.files import hash_file

STAGES = ('train', 'val', 'test')
# In shorter captions one word is the difference between two videos.
MIN_WORDS = 5


@dataclass
class OwnData:
    """Videos with their captions, before they are divided.

    Attributes:
        splits: Name to videos; that of rows without one is ``''``.
        left_out: Rows that are in none.
    """

    splits: dict[str, list[VideoCaptions]]
    left_out: list[LeftOut] = field(default_factory=list)


def match_videos(
    source: CaptionSource,
    names: VideoNames,
    ann_file: Path | None,
) -> OwnData:
    """Find the video of each row, and leave out those that have none.

    Args:
        source: The captions.
        names: The videos.
        ann_file: Beside it the result of reading each clip is remembered;
            None for not to read them.

    Returns:
        The data; files named as in the folder.

    Raises:
        SetupError: No row has a readable video.
    """
    rows, left_out = [], list(source.left_out)
    for row in source.rows:
        file, why = names.find(row.file)
        if file is None:
            left_out.append(LeftOut(row.where, row.file, 'no such video', why))
        else:
            rows.append(row._replace(file=file))
    if ann_file is not None:
        broken = find_unreadable_clips(rows, names.folder, ann_file)
        left_out += [
            LeftOut(row.where, row.file, 'unreadable video', broken[clip])
            for row in rows
            if (clip := _clip(row)) in broken
        ]
        rows = [row for row in rows if _clip(row) not in broken]
    if not rows:
        first = left_out[0] if left_out else None
        example = f'; {first.where}: {first.file!r}, {first.reason}'
        raise SetupError(
            f'none of {len(source.rows) + len(source.left_out)} rows of the '
            f'{source.format} has a caption and a video that can be read'
            + (example if first else '')
        )
    return OwnData(group_by_video(rows), left_out)


def _clip(row: CaptionRow) -> tuple:
    return row.file, row.start, row.end


def find_unreadable_clips(
    rows: Iterable[CaptionRow], folder: Path, ann_file: Path
) -> dict[tuple, str]:
    """Read three frames of each clip, once.

    Args:
        rows: Their files are below the folder.
        folder: Folder of the videos.
        ann_file: See :func:`mmtvr.datasets.video_check.find_unreadable`.

    Returns:
        File, start and end of each clip that cannot be read, to the reason.
    """
    clips = list(dict.fromkeys(map(_clip, rows)))
    samples = []
    for file, start, end in clips:
        span = {'start': start, 'end': end}
        sample = {k: v for k, v in span.items() if v is not None}
        samples.append(dict(sample, filename=str(folder / file)))
    loader = LoadVideoFrames(num_frames=3, test_mode=True)
    found = find_unreadable(
        samples, [loader], str(ann_file), 'Reading each video, once'
    )
    return {clips[place]: reason for place, reason in found.items()}


# --- Division ---


def divide(
    data: OwnData, folder: Path, shares: Mapping[str, float]
) -> tuple[dict[str, list[VideoCaptions]], list[str]]:
    """Divide videos into train, val and test, none of them in two.

    Splits that the data names stay. Where it names none, or no val or no
    test, those get their share of the rest. All clips of a file, and files
    of equal content, stay together; which side they are on depends on their
    names alone, so that a larger table moves few of them.

    Args:
        data: The videos.
        folder: Their folder.
        shares: ``val`` and ``test`` to a part of the videos, 0 for none.

    Returns:
        Name to videos, and what was done, in words.

    Raises:
        SetupError: A video is in two of the splits that the data names, or
            there are too few to divide.
    """
    splits = {name: videos for name, videos in data.splits.items() if name}
    pool = data.splits.get('', [])
    if splits and pool:
        raise SetupError(
            f'{len(pool)} videos have no split, but others are in '
            f'{", ".join(splits)}; the first is {pool[0].file!r}. Give all of '
            'them one, or none'
        )
    content = find_equal_files(
        folder,
        {video.file for videos in data.splits.values() for video in videos},
    )
    notes = []
    equal = len(content) - len(set(content.values()))
    if equal:
        notes.append(
            f'{equal:,} video files have the content of another one; they '
            'stay on its side'
        )
    if splits:
        _refuse_leaks(splits, content)
        names = ', '.join(splits)
        notes.append(f'splits as the captions name them: {names}')
        wanted = {
            name: share
            for name, share in shares.items()
            if name not in splits and share
        }
        pool = splits.get('train', []) if wanted else []
        if wanted and not pool:
            notes.append(f'no {" and no ".join(wanted)}: there is no train')
    else:
        wanted = {name: share for name, share in shares.items() if share}
    if not pool:
        return splits, notes
    sides = _choose_sides(content, pool, wanted)
    parts: dict[str, list[VideoCaptions]] = {'train': []}
    for name in wanted:
        parts[name] = []
    for video in pool:
        parts[sides.get(content[video.file], 'train')].append(video)
    if wanted:
        notes.append(
            f'{" and ".join(wanted)} drawn by file name: no video, and no '
            'file of equal content, is on two sides'
        )
    merged = {**splits, **parts}
    return {name: merged[name] for name in sorted(merged, key=_order)}, notes


def _order(split: str) -> tuple[int, str]:
    known = split in STAGES
    return (STAGES.index(split) if known else len(STAGES)), split


def _choose_sides(
    content: Mapping[str, str],
    pool: Sequence[VideoCaptions],
    shares: Mapping[str, float],
) -> dict[str, str]:
    """Content to val or test; what is not named is for training."""
    first = {}
    for video in sorted(pool, key=lambda video: video.file):
        first.setdefault(content[video.file], video.file)
    ordered = sorted(
        first,
        key=lambda key: blake2b(
            first[key].encode('utf-8', 'surrogateescape')
        ).hexdigest(),
    )
    counts = {
        name: max(1, round(share * len(ordered)))
        for name, share in shares.items()
    }
    if sum(counts.values()) >= len(ordered):
        raise SetupError(
            f'{len(ordered)} videos cannot be divided into train and '
            f'{", ".join(f"{n} of {name}" for name, n in counts.items())}: '
            'ask for smaller shares, or write all of them as one split '
            '(--split NAME)'
        )
    sides, place = {}, 0
    for name, count in counts.items():
        for key in ordered[place : place + count]:
            sides[key] = name
        place += count
    return sides


def _refuse_leaks(
    splits: Mapping[str, Sequence[VideoCaptions]], content: Mapping[str, str]
) -> None:
    side: dict[str, tuple[str, str]] = {}
    for name, videos in splits.items():
        for video in videos:
            other, file = side.setdefault(
                content[video.file], (name, video.file)
            )
            if other != name:
                twin = '' if file == video.file else f', which equals {file}'
                raise SetupError(
                    f'{video.file!r}{twin} is in {other} and in {name}: a '
                    'test on videos of the training says nothing. Correct '
                    'the column, or leave it out (--ignore-splits) to have '
                    'the videos divided'
                )


def find_equal_files(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """Name the content of each file; only those of equal size are hashed.

    Args:
        folder: Where they are.
        files: Their paths below it.

    Returns:
        File to a text that files of equal content share.
    """
    by_size = defaultdict(list)
    for file in sorted(files):
        by_size[os.path.getsize(folder / file)].append(file)
    return {
        file: file if len(group) == 1 else hash_file(folder / file)
        for group in by_size.values()
        for file in group
    }


# --- Captions that are alike ---


class NearDuplicates(NamedTuple):
    """Captions that are nearly the same as one of another video.

    Attributes:
        captions: How many, each occurrence.
        across: How many of them have one in another split.
        examples: Pairs of (file, caption), nearly the same.
    """

    captions: int
    across: int
    examples: list[tuple[tuple[str, str], tuple[str, str]]]


def find_near_duplicates(
    splits: Mapping[str, Sequence[VideoCaptions]], num_examples: int = 3
) -> NearDuplicates:
    """Find captions that differ by one word at most from another video's.

    Case and punctuation do not count; of captions below five words only equal
    ones are found. Texts that are exactly equal count too. Takes time and
    memory in proportion to the number of words.

    Args:
        splits: Name to videos.
        num_examples: Pairs to return.

    Example:
        >>> videos = [VideoCaptions('a.mp4', ('A dog runs over the grass.',)),
        ...           VideoCaptions('b.mp4', ('a dog runs over grass',))]
        >>> find_near_duplicates({'train': videos}).captions
        2
    """
    places = [
        (split, video.file, caption)
        for split, videos in splits.items()
        for video in videos
        for caption in video.captions
    ]
    seen: dict[int, list[int]] = defaultdict(list)
    for number, (_, _, caption) in enumerate(places):
        for signature in _signatures(caption):
            seen[signature].append(number)
    near, across, examples = set(), set(), {}
    for group in seen.values():
        if len(group) < 2 or len({places[each][1] for each in group}) < 2:
            continue
        near.update(group)
        if len({places[each][0] for each in group}) > 1:
            across.update(group)
        other = next(
            each for each in group if places[each][1] != places[group[0]][1]
        )
        if len(examples) < num_examples:
            pair = tuple(places[each][1:] for each in (group[0], other))
            examples.setdefault(frozenset((group[0], other)), pair)
    return NearDuplicates(len(near), len(across), list(examples.values()))


def _signatures(caption: str) -> set[int]:
    """Of the words, and of the words without each one of them.

    Two captions that differ in a word, or lack one, share a signature.
    """
    text = ''.join(
        letter if letter.isalnum() else ' ' for letter in caption.casefold()
    )
    words = text.split()
    kept = [tuple(words)]
    if len(words) >= MIN_WORDS:
        kept += [
            tuple(words[:place] + words[place + 1 :])
            for place in range(len(words))
        ]
    return {hash(each) for each in kept}
