"""Which reader gives the right frames of which kind of file.

``python -m benchmarks.video_fuzz.compare_readers`` makes small videos whose
frames carry their number, one of each kind that people have, asks every reader
for frames in several orders, at full and at reduced size, and compares the
number that each frame shows with the one that was asked for. It prints a table
in Markdown and writes it with ``--out``. Readers whose package is missing are
left out.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.video_fuzz.kinds import KINDS, Kind
from benchmarks.video_fuzz.stamped import colour_error, read_stamp
from mmtvr.datasets.readers import SHORT_NAMES, get_reader
from mmtvr.errors import SetupError
from mmtvr.video import UnreadableVideoError, VideoReader
from mmtvr.video.supervised_reader import supervise

SHORT_SIDES = (None, 96)
LEVELS = 8
RIGHT, RAISES = 'right', 'raises'
Open = Callable[..., VideoReader]


def choose_indices(count: int) -> list[list[int]]:
    """Positions spread evenly, unordered, repeated, one, and the last."""
    draw = np.random.default_rng(count)
    return [
        [(2 * i + 1) * count // 24 for i in range(12)],
        draw.permutation(count)[:12].tolist(),
        [count - 1, 0, count // 2, count // 2],
        [count // 3],
        [count - 1],
    ]


def judge(
    open_reader: Open,
    path: Path,
    numbers: Sequence[int],
    turn: int = 0,
    mirrored: bool = False,
) -> str:
    """Try a reader on a file: right, raises, or what is wrong.

    Without ``numbers`` nothing of the file can be decoded.
    """
    try:
        for short_side in SHORT_SIDES:
            with open_reader(path, short_side=short_side) as reader:
                wrong = find_wrong(reader, numbers, turn, mirrored)
            if wrong:
                return wrong
    except UnreadableVideoError:
        return RAISES
    return RIGHT


def find_wrong(
    reader: VideoReader,
    numbers: Sequence[int],
    turn: int = 0,
    mirrored: bool = False,
) -> str:
    """Find what is wrong with the frames of an open file, if anything."""
    if not numbers:
        return 'no error'
    count, wrong, asked, error = len(reader), 0, 0, 0
    for indices in choose_indices(min(count, len(numbers))):
        frames = reader.get_frames(indices)
        for frame, index in zip(frames, indices, strict=True):
            asked += 1
            picture = frame[:, ::-1] if mirrored else frame
            picture = np.rot90(picture, turn // 90)
            wrong += read_stamp(picture) != numbers[index]
            error = max(error, colour_error(picture))
    if wrong:
        return f'{wrong} of {asked} frames'
    if count != len(numbers):
        return f'{count} not {len(numbers)} frames'
    return f'colours by {error}' if error > LEVELS else ''


def find_readers(names: Sequence[str], probe: Path) -> dict[str, Open]:
    """Functions that open a file with each reader that is installed."""
    found = {}
    for name in names:
        try:
            get_reader(name)(str(probe)).close()
        except SetupError as error:
            print(f'{name} is left out: {error}')
            continue
        except UnreadableVideoError:
            # It is there; what it says of this file comes later.
            pass
        found[name] = supervise(get_reader(name), 60.0)
    return found


def compare(
    folder: Path, names: Sequence[str], kinds: Sequence[Kind]
) -> list[list[str]]:
    """Make the files and try every reader on each."""
    files = [(kind, kind.make(folder / kind.file)) for kind in kinds]
    readers = find_readers(names, folder / kinds[0].file)
    rows = [['file', 'kind', *readers]]
    for kind, numbers in files:
        path = folder / kind.file
        row = [path.suffix.removeprefix('.'), kind.name]
        for open_reader in readers.values():
            row.append(
                judge(open_reader, path, numbers, kind.turn, kind.mirrored)
            )
        rows.append(row)
    return rows


def write_table(rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    plain = (RIGHT, RAISES)
    lines = ['| ' + ' | '.join(rows[0]) + ' |', '|---' * len(rows[0]) + '|']
    for extension, kind, *cells in rows[1:]:
        cells = [c if c in plain else f'**{c}**' for c in cells]
        lines.append('| ' + ' | '.join([extension, kind, *cells]) + ' |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Print the table, and write it if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--readers', nargs='+', default=list(SHORT_NAMES))
    parser.add_argument(
        '--only', default='', help='part of the names of files to make'
    )
    parser.add_argument('--out', type=Path, help='file for the table')
    args = parser.parse_args()
    kinds = [kind for kind in KINDS if args.only in kind.file]
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(compare(Path(folder), args.readers, kinds))
    print(table)
    if args.out is not None:
        args.out.write_text(table, encoding='utf-8')


if __name__ == '__main__':
    main()
