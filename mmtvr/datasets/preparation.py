"""From the original annotation files of each benchmark to one JSON layout.

Each ``read_<benchmark>(folder)`` reads the files as their authors publish them
and returns split name to videos; it raises a :class:`SetupError` that names
the file and the place where one is missing or not of its layout.
``tools/data/`` holds the commands.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.caption_formats import group_by_video, read_captions
from mmtvr.datasets.input_files import (
    expect,
    read_json,
    read_lines,
    read_table,
    read_text,
    split_lines,
    take,
    take_name,
    take_texts,
)
from mmtvr.errors import SetupError

Splits = Mapping[str, Sequence[VideoCaptions]]
Records = dict[str, list[VideoCaptions]]


class Count(NamedTuple):
    """Published size of a split; None where no number is established.

    Attributes:
        videos: Number of videos.
        captions: Number of captions before paragraphs are joined.
    """

    videos: int | None
    captions: int | None


KNOWN_COUNTS: dict[str, dict[str, Count]] = {
    'msrvtt': {
        'train_9k': Count(9000, 180000),
        'train_7k': Count(7010, 140200),
        'train_full': Count(6513, 130260),
        'val_full': Count(497, 9940),
        'test_full': Count(2990, 59800),
        'test_JSFUSION': Count(1000, 1000),
    },
    'msvd': {
        'train': Count(1200, 48774),
        'val': Count(100, 4290),
        'test': Count(670, 27763),
    },
    'didemo': {
        'train': Count(8392, None),
        'val': Count(1065, 4109),
        'test': Count(1004, 3932),
    },
    'activitynet': {
        'train': Count(10009, 37421),
        'val_1': Count(4917, 17505),
        'val_2': Count(4885, 17031),
    },
    'lsmdc': {
        'train': Count(101079, 101079),
        'val': Count(None, None),
        'test': Count(1000, 1000),
    },
    'vatex': {
        'train': Count(25991, 259910),
        'val': Count(1500, 15000),
        'test': Count(1500, 15000),
    },
}


def _find(folder: Path, *names: str) -> Path:
    """First existing file among several usual names."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise SetupError(
        f'none of {", ".join(names)} is in {folder}; tools/data/README.md '
        'says where the original files come from'
    )


# --- MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each ---

MSRVTT_CAPTIONS = (
    ('train_val_annotation.zip', 'train_val_videodatainfo.json'),
    ('test_videodatainfo.json.zip', 'test_videodatainfo.json'),
)
# Split -> the CSV with its video ids. The captions come from videodatainfo.
MSRVTT_LISTS = {
    'train_9k': 'MSRVTT_train.9k.csv',
    'train_7k': 'MSRVTT_train.7k.csv',
    'train_full': 'MSRVTT_train.full.csv',
    'val_full': 'MSRVTT_val.full.csv',
    'test_full': 'MSRVTT_test.full.csv',
}
MSRVTT_JSFUSION = 'MSRVTT_JSFUSION_test.csv'


def read_msrvtt(folder: Path) -> Records:
    """Read every split of MSR-VTT whose list is in the folder.

    The text of the 1k-A test set (``test_JSFUSION``) is the sentence of its
    CSV: 35 of the 1,000 differ from all 20 captions of the video.
    """
    splits = {}
    lists = {s: n for s, n in MSRVTT_LISTS.items() if (folder / n).is_file()}
    if lists:
        captions = _read_msrvtt_captions(folder)
        for split, name in lists.items():
            path = folder / name
            ids = [row['video_id'] for row in read_table(path, 'video_id')]
            splits[split] = [
                _msrvtt_video(i, captions.get(i), str(path)) for i in ids
            ]
    path = folder / MSRVTT_JSFUSION
    if path.is_file():
        splits['test_JSFUSION'] = [
            _msrvtt_video(row['video_id'], [row['sentence']], str(path))
            for row in read_table(path, 'video_id', 'sentence')
        ]
    if not splits:
        _find(folder, MSRVTT_JSFUSION, *MSRVTT_LISTS.values())
    return splits


def _read_msrvtt_captions(folder: Path) -> dict[str, list[str]]:
    """Captions of all videos, in the order of ``sen_id``."""
    captions = defaultdict(list)
    for names in MSRVTT_CAPTIONS:
        path = _find(folder, *names)
        rows = take(read_json(path), 'sentences', list, str(path))
        sentences = [
            (
                take(row, 'sen_id', int, where := f'row {number} of {path}'),
                take(row, 'video_id', str, where),
                take(row, 'caption', str, where),
            )
            for number, row in enumerate(rows)
        ]
        for _, video, caption in sorted(sentences, key=lambda row: row[0]):
            captions[video].append(caption)
    return dict(captions)


def _msrvtt_video(
    name: str, captions: list[str] | None, source: str
) -> VideoCaptions:
    if not captions:
        raise SetupError(f'{name!r:.80} of {source} has no caption')
    return VideoCaptions(take_name(f'{name}.mp4', source), tuple(captions))


# --- MSVD (Chen and Dolan, ACL 2011): 1,970 clips, 18 to 81 captions each ---


def read_msvd(folder: Path) -> Records:
    """Read ``captions_msvd.json`` ({id: [caption]}) and the three lists."""
    source = _find(folder, 'captions_msvd.json')
    captions = expect(read_json(source), dict, f'the content of {source}')
    return {
        split: [
            VideoCaptions(
                take_name(f'{name}.avi', where := f'{name!r:.80} of {source}'),
                tuple(take_texts(captions[name], where)),
            )
            for name in _read_list(folder, split, captions, str(source))
        ]
        for split in ('train', 'val', 'test')
    }


def _read_list(
    folder: Path, split: str, captions: Mapping[str, Any], sources: str
) -> list[str]:
    """Ids of a split, each of which must have captions."""
    path = _find(folder, f'{split}_list.txt')
    ids = read_lines(path)
    unknown = [name for name in ids if not captions.get(name)]
    if unknown:
        raise SetupError(
            f'{len(unknown)} of {len(ids)} videos of {path} have no caption '
            f'in {sources}, the first is {unknown[0]!r:.80}'
        )
    return ids


# --- DiDeMo (Hendricks et al., ICCV 2017): moments of Flickr clips ---

# The annotators saw at most the first half minute, cut in 5-second segments.
DIDEMO_END = 31.0


def read_didemo(folder: Path) -> Records:
    """Read the splits of the retrieval lists ``{train,val,test}_list.txt``.

    The lists are shorter than the annotation files: what is not listed is not
    part of the benchmark. Descriptions come from ``{split}_data.json``, else
    joined paragraphs from ``didemo_{split}_label.csv``. Each video keeps the
    span of 0 to 31 s that they were written for.
    """
    splits = {}
    for split in ('train', 'val', 'test'):
        listed = read_lines(_find(folder, f'{split}_list.txt'))
        captions = _read_didemo_descriptions(folder, split)
        where = f'{split}_list.txt in {folder}'
        splits[split] = [
            VideoCaptions(
                take_name(name, where), tuple(captions[name]), 0.0, DIDEMO_END
            )
            for name in listed
            if captions.get(name)
        ]
    return splits


def _read_didemo_descriptions(folder: Path, split: str) -> dict[str, list]:
    source = _find(folder, f'{split}_data.json', f'didemo_{split}_label.csv')
    captions = defaultdict(list)
    if source.suffix == '.json':
        rows = expect(read_json(source), list, f'the content of {source}')
        for number, row in enumerate(rows):
            where = f'row {number} of {source}'
            video = take_name(take(row, 'video', str, where), where)
            captions[video].append(take(row, 'description', str, where))
    else:
        for row in read_table(source, 'video_path', 'text'):
            name = PurePosixPath(re.sub(r'\\', '/', row['video_path'])).name
            captions[name].append(row['text'])
    return dict(captions)


# --- ActivityNet Captions (Krishna et al., ICCV 2017): paragraphs ---


def read_activitynet(folder: Path) -> Records:
    """Read ``train.json``, ``val_1.json`` and, if present, ``val_2.json``.

    Retrieval reports on ``val_1``; ``val_2`` holds other captions of almost
    the same videos. Sentences keep their order. The whole video belongs to a
    paragraph, so there is no time span.
    """
    splits = {}
    for split in ('train', 'val_1', 'val_2'):
        if split == 'val_2' and not (folder / 'val_2.json').is_file():
            continue
        path = _find(folder, f'{split}.json')
        videos = expect(read_json(path), dict, f'the content of {path}')
        splits[split] = [
            VideoCaptions(
                take_name(f'{video}.mp4', where := f'{video!r:.80} of {path}'),
                tuple(take_texts(take(row, 'sentences', list, where), where)),
            )
            for video, row in videos.items()
        ]
    return splits


# --- LSMDC (Rohrbach et al., IJCV 2017): movie clips, one sentence each ---

LSMDC_FILES = {
    'train': 'LSMDC16_annos_training.csv',
    'val': 'LSMDC16_annos_val.csv',
    'test': 'LSMDC16_challenge_1000_publictect.csv',
}
LSMDC_COLUMNS = 6


def read_lsmdc(folder: Path) -> Records:
    """Read the three tab-separated files of the challenge.

    A row is clip, start and end inside the aligned movie, start and end as
    extracted, sentence. The clips are already cut, so no span is kept. A clip
    of movie ``M`` is ``M/<clip>.avi``.
    """
    splits = {}
    for split, name in LSMDC_FILES.items():
        path = _find(folder, name)
        splits[split] = [
            _read_lsmdc_row(row, f'{path}, line {number}')
            for number, row in enumerate(split_lines(read_text(path)), 1)
            if row.strip()
        ]
    return splits


def _read_lsmdc_row(row: str, where: str) -> VideoCaptions:
    fields = row.split('\t')
    if len(fields) != LSMDC_COLUMNS:
        raise SetupError(
            f'{where}: {len(fields)} tab-separated fields, expected '
            f'{LSMDC_COLUMNS}'
        )
    clip, sentence = fields[0], fields[-1]
    movie = clip.rsplit('.', 1)[0].rsplit('_', 1)[0]
    return VideoCaptions(take_name(f'{movie}/{clip}.avi', where), (sentence,))


# --- VATEX (Wang et al., ICCV 2019): ten English captions a clip ---

VATEX_CAPTIONS = (
    'vatex_training_v1.0.json',
    'vatex_validation_v1.0.json',
    'vatex_public_test_english_v1.1.json',
    'vatex_data.json',
    'ref_captions.json',
)


def read_vatex(folder: Path) -> Records:
    """Read the retrieval splits, with English captions.

    Lists hold ``<youtube id>_<start>_<end>``. Captions are the published
    lists of ``{videoID, enCap, chCap}``, or one of the two JSON files that
    the field passes on ({id: {enCap: [...]}} or {id: [...]}).
    """
    captions = {}
    present = [n for n in VATEX_CAPTIONS if (folder / n).is_file()]
    if not present:
        _find(folder, *VATEX_CAPTIONS)
    for name in present:
        content = read_json(folder / name)
        captions |= read_vatex_captions(content, str(folder / name))
    return {
        split: [
            VideoCaptions(
                take_name(f'{name}.mp4', f'{split}_list.txt in {folder}'),
                tuple(captions[name]),
            )
            for name in _read_list(folder, split, captions, ', '.join(present))
        ]
        for split in ('train', 'val', 'test')
    }


def read_vatex_captions(content: Any, where: str) -> dict[str, list[str]]:
    """English captions by video id, from any of the three layouts."""
    if isinstance(content, list):
        rows = [
            (
                take(row, 'videoID', str, (place := f'row {i} of {where}')),
                row,
                place,
            )
            for i, row in enumerate(content)
        ]
    else:
        videos = expect(content, dict, f'the content of {where}')
        rows = [(k, v, f'{k!r:.80} of {where}') for k, v in videos.items()]
    return {
        name: take_texts(
            take(row, 'enCap', list, place) if isinstance(row, dict) else row,
            place,
        )
        for name, row, place in rows
    }


READERS: dict[str, Callable[[Path], Records]] = {
    'msrvtt': read_msrvtt,
    'msvd': read_msvd,
    'didemo': read_didemo,
    'activitynet': read_activitynet,
    'lsmdc': read_lsmdc,
    'vatex': read_vatex,
}
#: Benchmarks whose captions of a video may be joined to one paragraph.
PARAGRAPHS = ('didemo', 'activitynet')


# --- Your own data ---


def read_pairs(path: Path) -> list[VideoCaptions]:
    """Read a table of (file, caption), and optionally (start, end).

    Rows of the same file and span become one video with several captions, in
    order of first appearance. Delimiter, encoding and columns are recognised,
    see :func:`mmtvr.datasets.caption_formats.read_captions`.

    Args:
        path: ``*.csv``, ``*.tsv``, or ``*.jsonl`` with one object a line.

    Raises:
        SetupError: It is no table or holds no row, or rows lack a file or a
            caption with a word, or have an invalid span; the message names
            them.
    """
    found = read_captions(path, into=path.parent, format='table')
    if found.left_out:
        listed = [f'{each.where}: {each.reason}' for each in found.left_out]
        more = f'; and {len(listed) - 5} more' if len(listed) > 5 else ''
        raise SetupError(
            f'{len(listed)} of {len(found.rows) + len(listed)} rows cannot '
            f'be used: {"; ".join(listed[:5])}{more}'
        )
    if not found.rows:
        raise SetupError(f'{path} holds no row')
    videos = group_by_video(row._replace(split='') for row in found.rows)
    return videos['']


# --- Counts ---


def compare_counts(
    dataset: str, split: str, videos: int, captions: int
) -> tuple[str, str]:
    """Compare numbers of videos and captions with the published ones.

    Args:
        dataset: Name of the benchmark.
        split: Name of the split, with ``_paragraph`` where captions were
            joined: nothing is known of the number of those.
        videos: Number of videos at hand.
        captions: Number of captions at hand.

    Returns:
        Each number, followed by ``ok`` or ``not N`` where N is published.
    """
    counts = KNOWN_COUNTS.get(dataset, {})
    of_videos = counts.get(split.removesuffix('_paragraph'))
    of_captions = counts.get(split)
    return (
        _compare(videos, of_videos and of_videos.videos),
        _compare(captions, of_captions and of_captions.captions),
    )


def _compare(count: int, known: int | None) -> str:
    if known is None:
        return f'{count:,}'
    return f'{count:,} ok' if count == known else f'{count:,} not {known:,}'
