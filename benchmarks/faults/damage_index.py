"""Damage one file of an index at a time, then open and search it.

``python -m benchmarks.faults.damage_index``

An index of drawn videos is made by an untrained DMAE model in two commits and
compacted, and once more in two commits that are not. Each of its files is
damaged in each of these ways, one at a time: a bit flipped at four places, cut
to half, filled with zeros, emptied, deleted, overwritten with random bytes.
Then the index is opened, listed and searched by text, as ``mmtvr search`` and
``mmtvr serve`` do, and compared with what the whole index gave. It counts

* ``same``: the same results (the file was not needed, or is made again),
* ``message``: one message of mmtvr,
* ``foreign``: an error of a library, ``panic``: one of a library in Rust,
* ``different``: other results or another list of files, without a word,

and of the damages that gave the same results those that ``mmtvr doctor INDEX``
reports. Exit status 1 if any is foreign, a panic or different.
"""

import argparse
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.apis import TextVideoSearcher
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.doctor.index import check_index
from mmtvr.errors import SetupError
from mmtvr.registry import MODELS
from mmtvr.search.stores.checksums import NAME as CHECKSUMS
from mmtvr.search.stores.lance import LanceStore

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/dmae_moving_shapes.py'
QUERY = 'a red circle rising'
PLACES = (0.1, 0.4, 0.7, 0.95)
OUTCOMES = ('same', 'message', 'different', 'foreign', 'panic')

Damage = Callable[[bytes, random.Random], bytes | None]


def flip(share: float) -> Damage:
    """Flip a bit at a share of the length."""

    def change(data: bytes, rng: random.Random) -> bytes:
        if not data:
            return data
        place = int(len(data) * share)
        bit = 1 << rng.randrange(8)
        return data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]

    return change


DAMAGES: dict[str, Damage] = {
    **{f'flip {place}': flip(place) for place in PLACES},
    'cut': lambda data, rng: data[: len(data) // 2],
    'zero': lambda data, rng: bytes(len(data)),
    'empty': lambda data, rng: b'',
    'delete': lambda data, rng: None,
    'overwrite': lambda data, rng: rng.randbytes(len(data)),
}


def damages(
    index: Path, seed: int, kinds: Collection[str] = DAMAGES
) -> Iterator[tuple[str, str, Path]]:
    """Damage the files one at a time, in some of the ways.

    Yields:
        The file, relative to the index, what was done to it, and a copy of
        the index in which it was: of another name each time, as LanceDB keeps
        what it has read of a path.
    """
    rng = random.Random(seed)
    files = sorted(path for path in index.rglob('*') if path.is_file())
    for path in files:
        data, name = path.read_bytes(), path.relative_to(index)
        for damage in kinds:
            changed = DAMAGES[damage](data, rng)
            if changed == data:
                continue
            copy = Path(tempfile.mkdtemp(dir=index.parent), 'index')
            shutil.copytree(index, copy)
            if changed is None:
                (copy / name).unlink()
            else:
                (copy / name).write_bytes(changed)
            yield str(name), damage, copy
            shutil.rmtree(copy.parent)


def search(searcher: TextVideoSearcher, index: Path) -> list:
    """What an index gives: its results, and its files."""
    found = searcher.open(index).search(QUERY, top_k=50)
    files = sorted(entry.to_json() for entry in searcher.store.list_files())
    return [found, files, searcher.store.count_videos()]


def try_index(
    searcher: TextVideoSearcher, index: Path, expected: list
) -> tuple[str, str]:
    """Open and search an index; its outcome, and the message."""
    try:
        found = search(searcher, index)
    except KeyboardInterrupt:
        raise
    except SetupError as error:
        return 'message', str(error)
    except Exception as error:
        return 'foreign', f'{type(error).__name__}: {error}'
    except BaseException as error:
        return 'panic', f'{type(error).__name__}: {error}'
    return ('same', '') if found == expected else ('different', '')


def find_in_doctor(index: Path) -> bool:
    """Whether ``mmtvr doctor INDEX`` says more than that all is well."""
    return any(each.severity != 'ok' for each in check_index(str(index)))


def make_index(
    folder: Path, videos: int, compacted: bool
) -> tuple[TextVideoSearcher, Path]:
    """Index drawn videos in two commits, by an untrained model."""
    config = Config.fromfile(CONFIG)
    init_default_scope('mmtvr')
    torch.manual_seed(0)
    weights = folder / 'untrained.pth'
    model = MODELS.build(config.model)
    torch.save(dict(state_dict=model.state_dict()), weights)
    searcher = TextVideoSearcher(config, weights)
    drawn = ensure_moving_shapes(folder, 'test', videos, 0)
    files = sorted(str(path) for path in drawn.rglob('*.mp4'))
    half, index = len(files) // 2, folder / f'index_{compacted}'
    searcher.index(files[:half], into=index, progress=False)
    compact = LanceStore.compact if compacted else lambda store: None
    with patch.object(LanceStore, 'compact', compact):
        searcher.index(files[half:], into=index, progress=False)
    return searcher, index


def main() -> int:
    """Damage, search, count and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--videos', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--old',
        action='store_true',
        help='without checksums, as an older mmtvr made an index',
    )
    parser.add_argument(
        '--show', action='store_true', help='print each that is no message'
    )
    options = parser.parse_args()
    warnings.filterwarnings('ignore')
    folder = Path(tempfile.mkdtemp(prefix='mmtvr_damage_'))
    counts: dict[str, Counter] = defaultdict(Counter)
    total: Counter = Counter()
    unfound = 0
    try:
        for compacted in (True, False):
            searcher, index = make_index(folder, options.videos, compacted)
            if options.old:
                (index / CHECKSUMS).unlink()
            expected = search(searcher, index)
            for file, damage, copy in damages(index, options.seed):
                outcome, text = try_index(searcher, copy, expected)
                counts[damage.partition(' ')[0]][outcome] += 1
                total[outcome] += 1
                if outcome == 'same' and not find_in_doctor(copy):
                    unfound += 1
                if options.show and outcome != 'message':
                    print(f'{outcome:<10}{damage:<10}{file}: {text[:150]}')
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f'{"damage":<10}' + ''.join(f'{each:>11}' for each in OUTCOMES))
    for name, count in [*counts.items(), ('all', total)]:
        numbers = ''.join(f'{count[each]:>11}' for each in OUTCOMES)
        print(f'{name:<10}{numbers}')
    print(
        f'{total.total()} damages; {unfound} that changed no result are not '
        'reported by mmtvr doctor'
    )
    return int(any(total[each] for each in OUTCOMES[2:]))


if __name__ == '__main__':
    sys.exit(main())
