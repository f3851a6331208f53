"""Play a newcomer who has the wheel and nothing else.

Run it with the Python of an environment in which the wheel was just
installed, in a folder outside of the checkout. It runs the blocks of the
README that ship inside the wheel, then takes the road of own videos, right
and wrong, and stops at the first command that does not end as it should, or
shows a traceback.

    cd "$(mktemp -d)" && PYTHON .ci/newcomer.py [--epochs 1]
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SHAPES = 'data/moving_shapes/test'
# Videos of a person who did not read about file names.
VIDEOS = {
    'Käfer auf Blatt.mp4': [
        'Ein roter Kreis fällt',
        'Größe: klein; Farbe: rot',
    ],
    'Straße.mp4': ['Auf der Straße fährt ein gelber Stern'],
    'öl übung (1).mp4': ['Ein blaues Quadrat, das sich nach links bewegt'],
}
# The tiny CLIP of moving shapes, in place of one that a network would bring.
OWN_CONFIG = """
_base_ = 'mmtvr::clip4clip_own.py'
model = dict(encoder='mmtvr://moving-shapes-clip')
train_cfg = dict(max_epochs=1)
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""


class Newcomer:
    """Calls commands, and looks at how they end."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        # The commands of this environment, and no checkout.
        self.environment = {
            **os.environ,
            'PATH': f'{BIN}{os.pathsep}{os.environ["PATH"]}',
        }
        self.environment.pop('PYTHONPATH', None)

    def call(self, command: str, *words: str, status: int = 0) -> str:
        """Run a command of a shell.

        Args:
            command: One line or several.
            words: What its output must hold.
            status: The exit status that it must have.

        Returns:
            Its output, with that on stderr.
        """
        begin = time.monotonic()
        print(f'$ {command}', flush=True)
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', command],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        now = time.monotonic()
        shown = done.stdout.strip().splitlines()[-3:]
        print('\n'.join(f'  {line:.150}' for line in shown))
        print(f'  [{now - begin:.1f} s, {now - self.start:.1f} s in all]')
        faults = [
            f'{word!r} is not in it'
            for word in words
            if word not in done.stdout
        ]
        if done.returncode != status:
            faults.append(f'exit status {done.returncode}, expected {status}')
        if 'Traceback' in done.stdout:
            faults.append('it shows a traceback')
        if faults:
            sys.exit(f'{done.stdout}\nFAILED: {command}: {"; ".join(faults)}')
        return done.stdout


def read_block(name: str) -> list[str]:
    """Read a block of the README in the wheel, without installation."""
    readme = metadata('mmtvr').get_payload()
    found = re.search(
        rf'<!-- ci: {name} -->\n```shell\n(.*?)```', readme, re.DOTALL
    )
    if found is None:
        sys.exit(f'the README of the wheel has no block {name}')
    lines = found[1].replace('\\\n', ' ').splitlines()
    return [line for line in lines if not line.startswith('pip install')]


def follow_readme(newcomer: Newcomer, epochs: int) -> None:
    """Train and search, as the README says, to what is on the screen then."""
    for line in read_block('train'):
        options = f'train_cfg.max_epochs={epochs}'
        newcomer.call(f'{line} --cfg-options {options}', 'R@1')
    *lines, last = read_block('search')
    for line in lines:
        newcomer.call(line)
    print(newcomer.call(last, '.mp4'))


def bring_videos(newcomer: Newcomer) -> str:
    """Make a table and videos of one's own; returns the config."""
    videos = Path('Meine Videos')
    videos.mkdir()
    shapes = sorted(Path(SHAPES, 'videos').glob('*.mp4'))
    rows = []
    for shape, (name, captions) in zip(shapes, VIDEOS.items(), strict=False):
        (videos / name).write_bytes(shape.read_bytes())
        rows += [(name, caption) for caption in captions]
    for number, shape in enumerate(shapes[3:12]):
        name = f'Übung {number}.mp4'
        (videos / name).write_bytes(shape.read_bytes())
        rows.append((name, f'Übung {number}: ein Würfel dreht sich'))
    table = Path('Übersicht.csv')
    lines = ['Datei;Beschreibung', *(f'{a};"{b}"' for a, b in rows)]
    table.write_text('\n'.join(lines), encoding='cp1252')
    newcomer.call(
        f"mmtvr prepare table {table} daten --videos '{videos}' "
        '--val 0.2 --test 0.2',
        *('Beschreibung', 'train'),
    )
    config = Path('eigene.py')
    config.write_text(OWN_CONFIG)
    return str(config)


def use_own_data(newcomer: Newcomer, config: str) -> None:
    """Train, resume, test, evaluate, index and search, right and wrong."""
    call = newcomer.call
    train = f'mmtvr train {config} --data daten'
    call(f'{train} --cfg-options train_cfg.max_epochs=1', 'R@1')
    # One that works, and others that cannot.
    call(
        f'{train} --resume --cfg-options train_cfg.max_epochs=2',
        'Epoch(train) [2]',
    )
    call(
        f'{train} --cfg-options model.haed.type=x',
        *('`haed`', '`head`'),
        status=1,
    )
    call(
        f'{train} --cfg-options val_dataloader.dataset.ann_file=gone.json',
        *('gone.json', 'error:'),
        status=1,
    )
    call(f'{train} --amp', '--amp', 'GPU', status=1)
    call('mmtvr train eigene.py --data nirgends', 'nirgends', status=1)
    call(
        f'mmtvr test {config} work_dirs/eigene --data daten --dump scores.npz',
        'R@1',
    )
    call('mmtvr evaluate scores.npz --out bericht', 'R@1')
    call(f"mmtvr index {config} 'Meine Videos' --into index", '12 videos')
    call('mmtvr search index "ein roter Kreis fällt"', '.mp4')
    call('mmtvr search nirgends "ein Kreis"', 'nirgends', status=1)


def main() -> None:
    """Play through all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--epochs', type=int, default=1, help='of the README: 10 (default: 1)'
    )
    args = parser.parse_args()
    if ROOT in Path.cwd().resolve().parents or Path.cwd() == ROOT:
        sys.exit(f'run it outside of the checkout {ROOT}')
    newcomer = Newcomer()
    place = newcomer.call(
        f'{shlex.quote(sys.executable)} -I -c '
        '"import mmtvr; print(mmtvr.__file__)"'
    )
    if Path(place.strip()).is_relative_to(ROOT):
        sys.exit(f'mmtvr is that of the checkout, {place}')
    newcomer.call('mmtvr --version', 'mmtvr')
    newcomer.call('mmtvr recipes', 'tpmcl_moving_shapes')
    newcomer.start = time.monotonic()
    follow_readme(newcomer, args.epochs)
    seconds = time.monotonic() - newcomer.start
    print(f'== from the installation to results of a search: {seconds:.0f} s')
    for line in read_block('export'):
        newcomer.call(line)
    use_own_data(newcomer, bring_videos(newcomer))
    print('== all ended as it should')


if __name__ == '__main__':
    main()
