"""VATEX (Wang et al., ICCV 2019): clips with ten English captions."""

from pathlib import Path
from typing import Any

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import expect, take, take_name, take_texts
from mmtvr.datasets.preparation.original_files import (
    find,
    read_json,
    read_lines,
)
from mmtvr.errors import SetupError

CAPTION_FILES = (
    'vatex_training_v1.0.json',
    'vatex_validation_v1.0.json',
    'vatex_public_test_english_v1.1.json',
    'vatex_data.json',
    'ref_captions.json',
)


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read the retrieval splits 25,991 / 1,500 / 1,500.

    Args:
        folder: Folder with ``{train,val,test}_list.txt``
            (``<youtube id>_<start>_<end>``) and the published captions: the
            lists of ``{videoID, enCap, chCap}``, or one of the two JSON
            files that the field passes on ({id: {enCap: [...]}} or
            {id: [...]}).

    Returns:
        Split name to its videos with their English captions.

    Raises:
        SetupError: If there is no caption file, or a listed video has none.
    """
    captions = {}
    present = [n for n in CAPTION_FILES if (folder / n).is_file()]
    if not present:
        find(folder, *CAPTION_FILES)
    for name in present:
        content = read_json(folder / name)
        captions.update(read_english(content, str(folder / name)))
    splits = {}
    for split in ('train', 'val', 'test'):
        ids = read_lines(find(folder, f'{split}_list.txt'))
        unknown = [name for name in ids if not captions.get(name)]
        if unknown:
            raise SetupError(
                f'{len(unknown)} of {len(ids)} videos of {split}_list.txt '
                f'have no English caption in {", ".join(present)} of '
                f'{folder}; the first is {unknown[0]!r:.80}'
            )
        splits[split] = [
            VideoCaptions(
                take_name(f'{name}.mp4', f'{split}_list.txt in {folder}'),
                tuple(captions[name]),
            )
            for name in ids
        ]
    return splits


def read_english(content: Any, where: str) -> dict[str, list[str]]:
    """Take the English captions out of any of the three published layouts.

    Args:
        content: The parsed JSON file.
        where: The file, for messages.

    Returns:
        Video id to its English captions.

    Raises:
        SetupError: If it is of another layout.
    """
    if isinstance(content, list):
        rows = [
            (take(row, 'videoID', str, place := f'row {i} of {where}'), row)
            + (place,)
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
