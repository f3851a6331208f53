"""MSVD (Chen and Dolan, ACL 2011): 1,970 clips with 18 to 81 captions."""

from pathlib import Path

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import expect, take_name, take_texts
from mmtvr.datasets.preparation.original_files import (
    find,
    read_json,
    read_lines,
)
from mmtvr.errors import SetupError


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
    source = find(folder, 'captions_msvd.json')
    captions = expect(read_json(source), dict, f'the content of {source}')
    splits = {}
    for split in ('train', 'val', 'test'):
        ids = read_lines(find(folder, f'{split}_list.txt'))
        unknown = [name for name in ids if not captions.get(name)]
        if unknown:
            raise SetupError(
                f'{len(unknown)} videos of {split}_list.txt have no caption '
                f'in {source}, the first is {unknown[0]!r:.80}'
            )
        splits[split] = [
            _read_video(name, captions[name], f'{name!r:.80} of {source}')
            for name in ids
        ]
    return splits


def _read_video(name: str, texts: object, where: str) -> VideoCaptions:
    captions = take_texts(texts, where)
    return VideoCaptions(take_name(f'{name}.avi', where), tuple(captions))
