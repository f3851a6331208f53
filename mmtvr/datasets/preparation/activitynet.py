"""ActivityNet Captions (Krishna et al., ICCV 2017): stories of long videos."""

from pathlib import Path

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import expect, take, take_name, take_texts
from mmtvr.datasets.preparation.original_files import find, read_json

FILES = {'train': 'train.json', 'val_1': 'val_1.json', 'val_2': 'val_2.json'}


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read train and the validation splits that are in the folder.

    Retrieval reports on ``val_1``; ``val_2`` holds other captions of almost
    the same videos.

    Args:
        folder: Folder with ``train.json`` and ``val_1.json`` as published:
            {``v_<id>``: {duration, timestamps, sentences}}.

    Returns:
        Split name to its videos, each with its sentences in story order. The
        whole video belongs to a paragraph, so there is no time span.

    Raises:
        SetupError: If a file is missing or not of this layout.
    """
    splits = {}
    for split, name in FILES.items():
        if split == 'val_2' and not (folder / name).is_file():
            continue
        path = find(folder, name)
        videos = expect(read_json(path), dict, f'the content of {path}')
        splits[split] = [
            _read_video(video, row, f'{video!r:.80} of {path}')
            for video, row in videos.items()
        ]
    return splits


def _read_video(video: str, row: object, where: str) -> VideoCaptions:
    sentences = take(row, 'sentences', list, where)
    file = take_name(f'{video}.mp4', where)
    return VideoCaptions(file, tuple(take_texts(sentences, where)))
