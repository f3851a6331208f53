"""VATEX (Wang et al., ICCV 2019): clips with ten English captions."""

from pathlib import Path
from typing import Any

from mmtvr.errors import SetupError

from .original_files import find, read_json, read_lines
from .video_captions import VideoCaptions

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
        captions.update(read_english(read_json(folder / name)))
    splits = {}
    for split in ('train', 'val', 'test'):
        ids = read_lines(find(folder, f'{split}_list.txt'))
        unknown = [name for name in ids if not captions.get(name)]
        if unknown:
            raise SetupError(
                f'{len(unknown)} of {len(ids)} videos of {split}_list.txt '
                f'have no English caption in {", ".join(present)}; the first '
                f'is {unknown[0]}'
            )
        splits[split] = [
            VideoCaptions(f'{name}.mp4', tuple(captions[name])) for name in ids
        ]
    return splits


def read_english(content: Any) -> dict[str, list[str]]:
    """Take the English captions out of any of the three published layouts.

    Args:
        content: The parsed JSON file.

    Returns:
        Video id to its English captions.
    """
    if isinstance(content, list):
        return {row['videoID']: row['enCap'] for row in content}
    return {
        name: row['enCap'] if isinstance(row, dict) else row
        for name, row in content.items()
    }
