"""MSR-VTT (Xu et al., CVPR 2016): 10,000 clips with 20 captions each."""

from collections import defaultdict
from pathlib import Path

from mmtvr.errors import SetupError

from .original_files import find, read_column, read_json, read_table
from .video_captions import VideoCaptions

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
    """
    captions = defaultdict(list)
    for names in (TRAIN_FILES, TEST_FILES):
        info = read_json(find(folder, *names))
        for row in sorted(info['sentences'], key=lambda row: row['sen_id']):
            captions[row['video_id']].append(row['caption'])
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
            splits[split] = [_video(i, captions.get(i), name) for i in ids]
    if (folder / JSFUSION).is_file():
        rows = read_table(folder / JSFUSION, 'video_id', 'sentence')
        splits['test_JSFUSION'] = [
            _video(row['video_id'], [row['sentence']], JSFUSION)
            for row in rows
        ]
    if not splits:
        find(folder, JSFUSION, *LISTS.values())
    return splits


def _video(
    name: str, captions: list[str] | None, source: str
) -> VideoCaptions:
    if not captions:
        raise SetupError(f'{name} of {source} has no caption')
    return VideoCaptions(f'{name}.mp4', tuple(captions))
