"""LSMDC (Rohrbach et al., IJCV 2017): movie clips with one sentence each."""

from pathlib import Path

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.input_files import read_text, split_lines, take_name
from mmtvr.datasets.preparation.original_files import find
from mmtvr.errors import SetupError

FILES = {
    'train': 'LSMDC16_annos_training.csv',
    'val': 'LSMDC16_annos_val.csv',
    'test': 'LSMDC16_challenge_1000_publictect.csv',
}
COLUMNS = 6


def read_splits(folder: Path) -> dict[str, list[VideoCaptions]]:
    """Read the three tab-separated files of the challenge.

    Args:
        folder: Folder with the files as the challenge names them. A row is
            clip, start and end inside the aligned movie, start and end as
            extracted, sentence. The clips are already cut, so no span is kept.

    Returns:
        Split name to its clips; a clip of movie ``M`` is ``M/<clip>.avi``.

    Raises:
        SetupError: If a row does not have six fields.
    """
    splits = {}
    for split, name in FILES.items():
        path = find(folder, name)
        rows = split_lines(read_text(path))
        splits[split] = [
            _read_row(row, f'{path}, line {number}')
            for number, row in enumerate(rows, 1)
            if row.strip()
        ]
    return splits


def _read_row(row: str, where: str) -> VideoCaptions:
    fields = row.split('\t')
    if len(fields) != COLUMNS:
        raise SetupError(
            f'{where}: {len(fields)} tab-separated fields, expected {COLUMNS}'
        )
    clip, sentence = fields[0], fields[-1]
    movie = clip.rsplit('.', 1)[0].rsplit('_', 1)[0]
    file = take_name(f'{movie}/{clip}.avi', where)
    return VideoCaptions(file, (sentence,))
