"""MSVD (Chen and Dolan, ACL 2011): 1,970 clips with 18 to 81 captions."""

from pathlib import Path

from mmtvr.errors import SetupError

from .original_files import find, read_json, read_lines
from .video_captions import VideoCaptions


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read the 1,200 / 100 / 670 splits.

    Args:
        folder: Folder with ``captions_msvd.json`` ({id: [caption]}) and
            ``{train,val,test}_list.txt``.

    Returns:
        Split name to its videos, each with all of its captions.

    Raises:
        SetupError: If a listed video has no captions.
    """
    captions = read_json(find(folder, 'captions_msvd.json'))
    splits = {}
    for split in ('train', 'val', 'test'):
        ids = read_lines(find(folder, f'{split}_list.txt'))
        unknown = [name for name in ids if not captions.get(name)]
        if unknown:
            raise SetupError(
                f'{len(unknown)} videos of {split}_list.txt have no caption '
                f'in captions_msvd.json, the first is {unknown[0]}'
            )
        splits[split] = [
            VideoCaptions(f'{name}.avi', tuple(captions[name])) for name in ids
        ]
    return splits
