"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each."""

from collections import defaultdict
from pathlib import Path

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import take, take_name
from mmtvr.datasets.preparation.original_files import (
    find,
    read_column,
    read_json,
    read_table,
)
from mmtvr.errors import SetupError

TRAIN_FILES = ('train_val_annotation.zip', 'train_val_videodatainfo.json')
TEST_FILES = ('test_videodatainfo.json.zip', 'test_videodatainfo.json')

# Split -> the CSV with its video ids. The captions come from videodatainfo.
LISTS = {
    'train_9k': 'MSRVTT_train.9k.csv',
    'train_7k': 'MSRVTT_train.7k.csv',
    'train_full': 'MSRVTT_train.full.csv',
    'val_full': 'MSRVTT_val.full.csv',
    'test_full': 'MSRVTT_test.full.csv',
}
JSFUSION = 'MSRVTT_JSFUSION_test.csv'


def read_captions(folder: Path) -> dict[str, list[str]]:
    """Collect the captions of all 10,000 videos.

    Args:
        folder: Folder with the two ``videodatainfo`` files, zipped or not.

    Returns:
        Video id to its captions, in the order of ``sen_id``.

    Raises:
        SetupError: If a file is missing or not of this layout.
    """
    captions = defaultdict(list)
    for names in (TRAIN_FILES, TEST_FILES):
        path = find(folder, *names)
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


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read every split whose list is in the folder.

    The text of the 1k-A test set (``test_JSFUSION``) is the sentence of its
    CSV: 35 of the 1,000 differ from all 20 captions of the video.

    Args:
        folder: Folder with the original files.

    Returns:
        Split name to its videos.

    Raises:
        SetupError: If no list is there, or a listed video has no caption.
    """
    splits = {}
    lists = {s: n for s, n in LISTS.items() if (folder / n).is_file()}
    if lists:
        captions = read_captions(folder)
        for split, name in lists.items():
            ids = read_column(folder / name, 'video_id')
            splits[split] = [
                _video(i, captions.get(i), str(folder / name)) for i in ids
            ]
    if (folder / JSFUSION).is_file():
        rows = read_table(folder / JSFUSION, 'video_id', 'sentence')
        splits['test_JSFUSION'] = [
            _video(row['video_id'], [row['sentence']], str(folder / JSFUSION))
            for row in rows
        ]
    if not splits:
        find(folder, JSFUSION, *LISTS.values())
    return splits


def _video(
    name: str, captions: list[str] | None, source: str
) -> VideoCaptions:
    if not captions:
        raise SetupError(f'{name!r:.80} of {source} has no caption')
    return VideoCaptions(take_name(f'{name}.mp4', source), tuple(captions))
