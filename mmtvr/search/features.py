"""Features of an index as a file, for other tools and from them.

A file that an index was exported to holds the rest of the index too, so that
importing it elsewhere gives the index back.
"""

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmtvr.errors import SetupError
from mmtvr.files import hash_file, load_arrays
from mmtvr.sanitize import for_terminal
from mmtvr.search.calibration import FACT, find_calibration
from mmtvr.search.encoder import FORMAT, RetrievalEncoder, find_weights
from mmtvr.search.filters import BOOLEAN, NUMBER, TEXT
from mmtvr.search.metadata import COLUMN
from mmtvr.search.stores.base import (
    CONTENT_DIGITS,
    PRECISIONS,
    WINDOW_DIGITS,
    FileEntry,
    Metadata,
    StoredVideos,
    VideoStore,
    check_info,
    require_at_least,
)
from mmtvr.search.video_files import CaptionedVideo

SPANS = ('starts', 'ends')
# Videos that are read or written at a time, captions that are encoded.
BATCH = 1024
CAPTION_BATCH = 64
SHOWN = 3
ENDING = '.npz'
#: The array with the rest of an index, and what windows begin with.
CARRIED, WINDOWS = 'index', 'window_'
#: The fact of an index that is being filled from a file: the hash of that.
IMPORTING = 'importing'
CONTENT = re.compile(f'[0-9a-f]{{{CONTENT_DIGITS}}}')
WINDOW = re.compile(f'[0-9a-f]{{{CONTENT_DIGITS + WINDOW_DIGITS}}}')
EXPECTED = (
    'a .npz with video (V, D) and videos (V,), the names as strings; '
    'optionally starts and ends (V,), seconds or NaN, and tokens (sum of '
    'token_counts, D), token_counts (V,) and times (sum of token_counts,)'
)


def read_feature_file(path: Path) -> dict[str, np.ndarray]:
    """Read features that any encoder made, see :func:`read_features`.

    Returns:
        The arrays by name, in which no video is zero, not finite, or named
        twice, and tokens, if there are any, have counts and times.

    Raises:
        SetupError: The file is missing or of another format.
    """
    content = load_arrays(path, EXPECTED)
    if isinstance(content, np.ndarray):
        content = dict(an_array=content)
    fault = _find_fault(content)
    if fault:
        raise SetupError(f'{path}: {fault}. Expected {EXPECTED}.')
    return content


def list_clips(
    content: dict[str, np.ndarray],
) -> list[tuple[str, float | None, float | None]]:
    """Name, start and end of each video, in seconds or None."""
    names = content['videos'].tolist()
    spans = [
        [None if np.isnan(second) else float(second) for second in content[at]]
        if at in content
        else [None] * len(names)
        for at in SPANS
    ]
    return list(zip(names, *spans, strict=True))


def _find_fault(content: dict[str, np.ndarray]) -> str | None:
    if not {'video', 'videos'} <= set(content):
        return f'it holds {sorted(content)}'
    fault = _find_fault_of_vectors('video', content['video'])
    fault = fault or _find_fault_of_names(content)
    if fault or 'tokens' not in content:
        return fault
    return _find_fault_of_tokens(content)


def _find_fault_of_names(content: dict[str, np.ndarray]) -> str | None:
    names = content['videos']
    if names.shape != (len(content['video']),) or names.dtype.kind != 'U':
        return f'videos is {names.dtype} of shape {names.shape}'
    for at in SPANS:
        seconds = content.get(at, np.zeros(names.shape))
        if seconds.shape != names.shape or seconds.dtype.kind != 'f':
            return f'{at} is {seconds.dtype} of shape {seconds.shape}'
    if len(set(list_clips(content))) < len(names):
        return 'a name stands in videos twice'
    return None


def _find_fault_of_tokens(content: dict[str, np.ndarray]) -> str | None:
    if not {'token_counts', 'times'} <= set(content):
        return 'it holds tokens without token_counts and times'
    fault = _find_fault_of_vectors('tokens', content['tokens'])
    if fault:
        return fault
    tokens, counts = content['tokens'], content['token_counts']
    if tokens.shape[1:] != content['video'].shape[1:]:
        return f'tokens has shape {tokens.shape}'
    if (
        counts.shape != content['videos'].shape
        or counts.dtype.kind not in 'iu'
    ):
        return f'token_counts is {counts.dtype} of shape {counts.shape}'
    total = len(tokens)
    # None above the total: their sum could overflow.
    if counts.min() < 1 or counts.max() > total or counts.sum() != total:
        return f'token_counts do not divide {total} tokens among the videos'
    return _find_fault_of_times(content['times'], total)


def _find_fault_of_times(times: np.ndarray, total: int) -> str | None:
    if times.shape != (total,) or times.dtype.kind != 'f':
        return f'times is {times.dtype} of shape {times.shape}'
    bad = ~np.isfinite(times.astype(np.float32))
    if bad.any():
        return f'row {bad.argmax()} of times is not finite'
    return None


def _find_fault_of_vectors(name: str, vectors: np.ndarray) -> str | None:
    if vectors.ndim != 2 or vectors.dtype.kind != 'f' or not vectors.size:
        return f'{name} is {vectors.dtype} of shape {vectors.shape}'
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    bad = ~(np.isfinite(lengths) & (lengths > 0))
    if bad.any():
        return f'row {bad.argmax()} of {name} is zero or not finite'
    return None


Batch = tuple[StoredVideos, list[FileEntry]]


class CarriedIndex(NamedTuple):
    """What an index holds beside the features of its readable files.

    Attributes:
        info: Its facts, with what its scores mean.
        entries: Of the V readable files.
        unreadable: Of the others.
        columns: Types of its columns by name.
        metadata: Columns and texts of its files.
    """

    info: dict[str, Any]
    entries: list[FileEntry]
    unreadable: list[FileEntry]
    columns: dict[str, str]
    metadata: list[Metadata]


def import_features(
    store: VideoStore, path: Path, precision: str | None, parts: int | None
) -> int:
    """Fill a new index with features that any encoder made.

    A file that an index was exported to gives that index: its model, files,
    windows, columns and texts, and what its scores mean. Where a process was
    killed in the middle, the same call goes on.

    Args:
        store: Where the index will be; there is none yet.
        path: What :func:`read_features` describes; at least ``video`` and
            ``videos``. Vectors are brought to unit length.
        precision: How tokens are kept; None for that of the exported index,
            else ``'float16'``.
        parts: Vectors of the first stage, see :func:`part_vectors`;
            of a file with tokens. At least 1; None for those of the exported
            index, else 1.

    Returns:
        The number of videos.

    Raises:
        SetupError: The file is missing or of another format, or there is an
            index of something else already. Nothing was written then.
    """
    require_at_least(1, parts=1 if parts is None else parts)
    content = read_feature_file(path)
    carried = read_carried(content, path)
    settings = dict(
        precision=precision or PRECISIONS[0],
        parts=(parts or 1) if 'tokens' in content else 1,
    )
    if carried is None:
        info = _describe(content, path, **settings)
        # Before anything is written, so that what fails here leaves no index.
        batches = list(_batches(content, path.name))
    else:
        kept = {k: carried.info[k] for k in settings}
        asked = dict(precision=precision, parts=parts)
        kept |= {k: v for k, v in asked.items() if v is not None}
        info = {**carried.info, **kept, IMPORTING: hash_file(path)}
        batches = list(_carried_batches(content, carried))
    with store.lock():
        before = store.read_info()
        is_empty = before is None or not store.count_files()
        if before != info and not is_empty:
            raise SetupError(
                f'there is another index in {store.url} already: import into '
                'a new one'
            )
        if before != info:
            store.create(info)
        _fill(store, batches)
        if carried is not None:
            _put_metadata(store, carried)
            info.pop(IMPORTING)
            store.write_info(info)
        store.compact()
    return len(content['videos'])


def _describe(
    content: dict[str, np.ndarray], path: Path, precision: str, parts: int
) -> dict[str, Any]:
    return dict(
        format=FORMAT,
        imported=True,
        name=path.name,
        file=hash_file(path),
        width=content['video'].shape[1],
        precision=precision,
        parts=parts,
    )


def _put_metadata(store: VideoStore, carried: CarriedIndex) -> None:
    if not carried.columns:
        return
    store.add_columns(carried.columns)
    rows = carried.metadata
    for first in range(0, len(rows), BATCH):
        store.put_metadata(rows[first : first + BATCH])


def _fill(store: VideoStore, batches: Sequence[Batch]) -> None:
    """Add what is not there yet."""
    known = store.list_contents()
    for videos, entries in batches:
        new = [
            row
            for row, each in enumerate(videos.contents)
            if each not in known
        ]
        if new:
            store.add_videos(videos.select(new))
            known.update(videos.contents)
        store.put_files(entries)


def _split(content: dict[str, np.ndarray]) -> tuple[np.ndarray, list, list]:
    """Pooled vectors (V, D), and tokens and times of each video."""
    video = _unit(content['video'])
    empty = np.zeros((0, video.shape[1]), np.float32)
    tokens, times = [empty] * len(video), [empty[:, 0]] * len(video)
    if 'tokens' in content:
        borders = content['token_counts'].astype(np.int64).cumsum()[:-1]
        tokens = np.split(_unit(content['tokens']), borders)
        times = np.split(content['times'].astype(np.float32), borders)
    return video, tokens, times


def _carried_batches(
    content: dict[str, np.ndarray], carried: CarriedIndex
) -> Iterator[Batch]:
    """Windows first: a video in the index has all of its windows."""
    wholes = [entry.content for entry in carried.entries]
    groups = [(wholes, content)]
    if windows := _windows(content):
        groups.insert(0, (windows['contents'].tolist(), windows))
    for contents, features in groups:
        video, tokens, times = _split(features)
        # Copies of a file have one content.
        rows = list({name: row for row, name in enumerate(contents)}.values())
        for first in range(0, len(rows), BATCH):
            some = rows[first : first + BATCH]
            yield (
                StoredVideos(
                    [contents[row] for row in some],
                    video[some],
                    [tokens[row] for row in some],
                    [times[row] for row in some],
                ),
                [],
            )
    nothing = StoredVideos([], content['video'][:0], [], [])
    entries = [*carried.entries, *carried.unreadable]
    for first in range(0, len(entries), BATCH):
        yield nothing, entries[first : first + BATCH]


def _batches(content: dict[str, np.ndarray], source: str) -> Iterator[Batch]:
    clips, (video, tokens, times) = list_clips(content), _split(content)
    for first in range(0, len(clips), BATCH):
        rows = slice(first, first + BATCH)
        entries = [
            FileEntry(clip[0], '', 0, (0, 0), source, *clip[1:])
            for clip in clips[rows]
        ]
        # What names an entry names its features too: no two share them.
        entries = [replace(each, content=each.key) for each in entries]
        contents = [entry.content for entry in entries]
        yield (
            StoredVideos(contents, video[rows], tokens[rows], times[rows]),
            entries,
        )


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def list_readable(store: VideoStore) -> list[FileEntry]:
    """List what an index has features of, sorted by path and span.

    Raises:
        SetupError: There is none.
    """
    entries = [each for each in store.list_files() if each.error is None]
    if not entries:
        raise SetupError(f'the index {store.url} is empty')
    return sorted(entries, key=_order)


def check_export_path(path: Path) -> None:
    """Refuse another ending than ``.npz``, and a folder that is missing."""
    if path.suffix != ENDING:
        raise SetupError(f'{path} must end in {ENDING}')
    if not path.parent.is_dir():
        raise SetupError(f'there is no folder {path.parent} for {path.name}')


def read_features(
    store: VideoStore, entries: Sequence[FileEntry]
) -> dict[str, np.ndarray]:
    """Read the features of entries into memory, for a npz.

    Args:
        store: The index.
        entries: V of its entries, see :func:`list_readable`.

    Returns:
        ``video`` (V, D) float32, ``videos`` (V,) strings, the paths,
        ``starts`` and ``ends`` (V,) float64, the spans in seconds with NaN
        where there is none, ``video_ids`` (V,) int64, and for all videos one
        after the other ``tokens`` (N, D) float16 and ``times`` (N,) float32,
        with ``token_counts`` (V,) int64.

    Raises:
        SetupError: Entries have left the index, or have another content,
            since they were listed.
    """
    return dict(
        _read_arrays(store, [entry.content for entry in entries]),
        videos=np.array([entry.path for entry in entries]),
        video_ids=np.arange(len(entries)),
        starts=np.array([entry.start for entry in entries], np.float64),
        ends=np.array([entry.end for entry in entries], np.float64),
    )


def _read_arrays(
    store: VideoStore, contents: Sequence[str]
) -> dict[str, np.ndarray]:
    pooled, tokens, times = [], [], []
    for start in range(0, len(contents), BATCH):
        wanted = list(contents[start : start + BATCH])
        found = store.read_videos(wanted)
        if found.contents != wanted:
            raise SetupError(
                f'the index {store.url} has changed while it was read: '
                'export again when nobody indexes into it'
            )
        pooled.append(found.pooled)
        tokens += [each.astype(np.float16) for each in found.tokens]
        times += found.times
    content = dict(video=np.concatenate(pooled))
    if all(map(len, tokens)):
        content |= dict(
            tokens=np.concatenate(tokens),
            token_counts=np.array([len(each) for each in tokens]),
            times=np.concatenate(times),
        )
    return content


def carry_index(
    store: VideoStore,
    entries: Sequence[FileEntry],
    content: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Read the rest of an index that a model of mmtvr filled.

    Args:
        store: The index.
        entries: V of its entries, see :func:`list_readable`.
        content: Their features, see :func:`read_features`.

    Returns:
        ``index``, JSON as bytes, shape (N,) uint8: facts, entries, columns
        and texts; and of windows of long videos, if there are some, arrays
        as those of videos with ``window_`` before their names, and
        ``window_contents``.
    """
    info = store.require_info()
    if info.get('imported'):
        return {}
    known = find_calibration(info, _find_weights(info, store.url))
    if known is not None:
        info = {**info, FACT: known.to_dict()}
    keys = {entry.key for entry in entries}
    rest = dict(
        features=_hash_vectors(content),
        info=info,
        entries=[entry.to_json() for entry in entries],
        unreadable=[
            each.to_json()
            for each in store.list_files()
            if each.error is not None
        ],
        columns=store.list_columns(),
        metadata=[
            row.to_json() for row in store.list_metadata() if row.key in keys
        ],
    )
    carried = {CARRIED: np.frombuffer(json.dumps(rest).encode(), np.uint8)}
    # Copies of a file have one content.
    windows = {w: None for e in entries for w in e.contents[1:]}
    if windows:
        arrays = _read_arrays(store, list(windows))
        arrays['contents'] = np.array(list(windows))
        carried |= {WINDOWS + name: each for name, each in arrays.items()}
    return carried


def _find_weights(info: dict[str, Any], url: str) -> Path | None:
    if info.get('checkpoint') is None:
        return None
    try:
        return find_weights(info, url)
    except SetupError:
        # Features are exported without them.
        return None


def _hash_vectors(content: dict[str, np.ndarray]) -> str:
    return blake2b(np.ascontiguousarray(content['video']).data).hexdigest()


def _windows(content: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of windows, named as those of videos."""
    return {
        name.removeprefix(WINDOWS): each
        for name, each in content.items()
        if name.startswith(WINDOWS)
    }


def read_carried(
    content: dict[str, np.ndarray], path: Path
) -> CarriedIndex | None:
    """Read what :func:`carry_index` wrote.

    Args:
        content: The arrays of a file.
        path: The file, for messages.

    Returns:
        None in features of others.

    Raises:
        SetupError: It is damaged.
    """
    if CARRIED not in content:
        return None
    try:
        rest = json.loads(content[CARRIED].tobytes())
        if rest['features'] != _hash_vectors(content):
            warnings.warn(
                f'{path} holds other vectors than the index that it came '
                f'from: they are imported as those of another encoder',
                stacklevel=2,
            )
            return None
        carried = CarriedIndex(
            check_info(rest['info'], str(path)),
            *(
                [FileEntry.from_json(each) for each in rest[name]]
                for name in ('entries', 'unreadable')
            ),
            dict(rest['columns']),
            [Metadata.from_json(each) for each in rest['metadata']],
        )
        fault = _find_fault_of_carried(carried, content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        fault = f'{type(error).__name__}: {error}'
    if fault:
        raise SetupError(
            f'{path} is damaged (its {CARRIED}: {fault}): export the index '
            'again'
        )
    return carried


def _find_fault_of_carried(
    carried: CarriedIndex, content: dict[str, np.ndarray]
) -> str | None:
    """Whatever reaches an engine is what an index may hold."""
    clips = [(e.path, e.start, e.end) for e in carried.entries]
    if clips != list_clips(content):
        return 'its files are not the videos'
    if carried.info['width'] != content['video'].shape[1]:
        return f'width {carried.info["width"]}'
    contents = [entry.content for entry in carried.entries]
    bad = [each for each in contents if not CONTENT.fullmatch(each)]
    windows = _windows(content)
    if windows:
        names = windows['contents'].tolist()
        bad += [each for each in names if not WINDOW.fullmatch(each)]
        # Their arrays are those of videos.
        named = dict(windows, videos=windows['contents'])
        fault = _find_fault(named)
        if fault:
            return f'windows: {fault}'
        contents += names
    wanted = {c for entry in carried.entries for c in entry.contents}
    if bad or set(contents) != wanted:
        return f'its features are not those of the files {bad[:SHOWN]}'
    of_key = {entry.key: entry.content for entry in carried.entries}
    if any(of_key.get(row.key) != row.content for row in carried.metadata):
        return 'texts of other files'
    kinds = {NUMBER, TEXT, BOOLEAN}
    for name, kind in carried.columns.items():
        if not COLUMN.fullmatch(name) or kind not in kinds:
            return f'column {name!r:.40} of type {kind!r:.40}'
    return None


def _order(entry: FileEntry) -> tuple:
    return os.fsencode(entry.path), entry.start or 0.0, entry.end or 0.0


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
            f'indexed: {_name(lacking)}. Fix them and index again, or take '
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
    """Encode B captions, as queries are, to pooled vectors (B, D)."""
    batches = [
        encoder.encode_texts(
            texts[start : start + CAPTION_BATCH]
        ).features.pooled
        for start in range(0, len(texts), CAPTION_BATCH)
    ]
    return np.concatenate([each.float().cpu().numpy() for each in batches])
