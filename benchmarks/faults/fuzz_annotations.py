"""Feed hostile bytes to every reader of annotations and of scores.

``python -m benchmarks.faults.fuzz_annotations --seconds 60`` mutates a valid
file of each kind, by bytes and by fragments that have broken readers before,
and prints how many inputs were read and how many refused. Whatever bytes come,
a reader returns valid records or raises one ``SetupError`` that names the
file; the first input that does neither is kept beside the table, and the exit
status is 1. ``--reader NAME --atheris`` lets atheris (pip install atheris)
choose the inputs of one reader by the code that they reach.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FunctionType

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from benchmarks.faults.fuzzed_readers import READERS, Reader
from mmtvr.errors import SetupError

WATCHED = (
    *('mmtvr.datasets.input_files', 'mmtvr.datasets.annotations'),
    'mmtvr.datasets.preparation',
    *('mmtvr.apis.evaluation', 'json', 'csv'),
)
FRAGMENTS = (
    *(b'\x00', b'\n', b'\r', b'"', b'""', b'\\', b',', b'\t', b'\x1b[2J'),
    *(b'{', b'}', b'[', b']', b'[' * 3000, b'{"a":' * 500, b':'),
    *(b'null', b'true', b'NaN', b'-Infinity', b'1e400', b'-1', b'9' * 5000),
    *(b'9' * 400, b'[]', b'{}', b'""', b'" . "', b'"file"', b'"captions"'),
    *(b'"start"', b'"end"', b'"videos"', b'\xff', b'\xef\xbb\xbf', b'\xe9'),
    *('\u202e'.encode(), '\u2028'.encode(), '😀'.encode(), 'שלום'.encode()),
    *(b'\\ud800', b'\\u0000', b'../x', b'/etc/passwd', b'C:\\x', b'<script>'),
    *(b'word ' * 10_000, b'PK\x05\x06', b"{'descr': '<f8'}", b'\x93NUMPY'),
)


def mutate(seed: bytes, draw: random.Random) -> bytes:
    """Change a valid file in one to six places."""
    data = bytearray(seed)
    for _ in range(draw.randint(1, 6)):
        place = draw.randint(0, len(data))
        length = draw.choice((0, 0, 1, 2, 8, 64))
        kind = draw.randrange(4)
        if kind == 0:
            data[place : place + length] = draw.choice(FRAGMENTS)
        elif kind == 1:
            data[place : place + length] = draw.randbytes(draw.randint(0, 4))
        elif kind == 2:
            del data[place : place + length]
        else:
            source = draw.randint(0, len(data))
            data[place:place] = data[source : source + length]
    return bytes(data)


def try_input(reader: Reader, folder: Path, data: bytes) -> str:
    """Let a reader read an input."""
    try:
        reader.run(folder, data)
    except SetupError as error:
        if reader.file in str(error):
            return 'refused'
        return f'a message without the name of the file: {error}'
    except Exception as error:
        return f'{type(error).__name__}: {error}'
    return 'read'


def fuzz(
    reader: Reader, seconds: float, seed: int, keep: Path
) -> Counter[str]:
    """Feed mutated inputs to a reader until the time is over."""
    draw, counts = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as folder:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            data = mutate(reader.seed, draw)
            what = try_input(reader, Path(folder), data)
            if what not in ('read', 'refused') and not counts['other']:
                path = keep / f'fuzzed_{reader.name}.bin'
                path.write_bytes(data)
                print(f'{reader.name}: {what}\n  the input is in {path}')
            counts[what if what in ('read', 'refused') else 'other'] += 1
    return counts


def fuzz_with_atheris(reader: Reader, seconds: int) -> None:
    """Let atheris choose the inputs; it ends the process."""
    import atheris

    def check(data: bytes) -> None:
        what = try_input(reader, folder, data)
        if what not in ('read', 'refused'):
            raise AssertionError(what)

    folder = Path(tempfile.mkdtemp())
    corpus = Path(tempfile.mkdtemp())
    (corpus / 'seed').write_bytes(reader.seed)
    options = [f'-max_total_time={seconds}', '-print_final_stats=1']
    # All of what is imported, PyTorch among it, would take minutes.
    for function in list(find_functions(WATCHED)):
        atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def find_functions(modules: Sequence[str]) -> Iterator[FunctionType]:
    """Find the functions of imported modules."""
    for name, module in list(sys.modules.items()):
        if name.startswith(tuple(modules)):
            for each in vars(module).values():
                if isinstance(each, FunctionType) and (
                    each.__module__ == name
                ):
                    yield each


def print_table(counts: dict[str, Counter[str]]) -> None:
    """Print a row per reader."""
    table = Table(box=SIMPLE)
    columns = ('inputs', 'read', 'refused by name', 'other')
    table.add_column('reader')
    for name in columns:
        table.add_column(name, justify='right')
    for name, found in counts.items():
        numbers = found.total(), *(found[k] for k in ('read', 'refused'))
        table.add_row(name, *(f'{n:,}' for n in (*numbers, found['other'])))
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('--seconds', type=float, default=60, help='in all')
    parser.add_argument('--reader', choices=READERS, help='only this one')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--keep', type=Path, default=Path())
    parser.add_argument('--atheris', action='store_true')
    args = parser.parse_args(arguments)
    chosen = [READERS[args.reader]] if args.reader else list(READERS.values())
    if args.atheris:
        if not args.reader:
            parser.error('--atheris needs --reader')
        fuzz_with_atheris(chosen[0], int(args.seconds))
    share = args.seconds / len(chosen)
    counts = {r.name: fuzz(r, share, args.seed, args.keep) for r in chosen}
    print_table(counts)
    return 1 if any(found['other'] for found in counts.values()) else 0


if __name__ == '__main__':
    sys.exit(main())
