"""Run the steps of the Dockerfile without a Docker engine.

In place of its base image stands this machine with an empty virtual
environment of the same Python, below a layer (overlayfs) that takes all
changes and is thrown away. Needs root on Linux, that Python as ``python3.11``
on the path, and 3 GB of memory, where the layer lies. Without the index of
PyTorch's CPU builds, ``PIP_RETRIES=0 PIP_FIND_LINKS=FOLDER`` takes them from a
folder.

    unshare --mount python3 .ci/run_dockerfile.py [NAME=VALUE of an ARG ...]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = '/opt/base'
SYSTEM = '/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


def read_steps(text: str) -> list[tuple[str, str]]:
    """Read (instruction, rest) pairs, without comments."""
    lines = [line for line in text.splitlines() if not line.startswith('#')]
    joined = re.sub(r'\\\n', '', '\n'.join(lines))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (
            line.partition(' ') for line in joined.split('\n')
        )
        if word
    ]


class Stage:
    """What ``FROM`` begins: a layer over this machine."""

    def __init__(self, base: str, folder: Path):
        self.layer = folder / 'root'
        for name in ('upper', 'work', 'root'):
            (folder / name).mkdir(parents=True)
        options = f'lowerdir=/,upperdir={folder}/upper,workdir={folder}/work'
        mount = ['mount', '-t', 'overlay', 'overlay', '-o', options]
        subprocess.run([*mount, self.layer], check=True)
        for name in ('dev', 'proc'):
            mount = ['mount', '--rbind', f'/{name}', f'{self.layer}/{name}']
            subprocess.run(mount, check=True)
        # Where the Python of the environment may lie, for other users too.
        os.chmod(self.layer / 'root', 0o755)
        self.environment = {
            **os.environ,
            'PATH': f'{PYTHON}/bin:{SYSTEM}',
        }
        for name in ('PYTHONPATH', 'TMPDIR'):
            self.environment.pop(name, None)
        self.folder = '/'
        self.user = '0:0'
        version = re.search(r'python:(\d+\.\d+)', base)[1]
        found = shutil.which(f'python{version}')
        self.run(f'{found} -m venv {PYTHON}')

    def run(self, command: str) -> None:
        """Run a command of a shell in the layer."""
        print(f'== RUN {command}', flush=True)
        inside = f'cd {self.folder} && {command}'
        subprocess.run(
            [
                *('chroot', f'--userspec={self.user}', self.layer),
                *('/bin/sh', '-e', '-c', inside),
            ],
            env=self.environment,
            check=True,
        )

    def path(self, name: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.layer / os.path.join(self.folder, name).lstrip('/')

    def copy(self, source: Path, target: str) -> None:
        """Do ``COPY`` of a file, or of what a folder holds."""
        place = self.path(target)
        if source.is_dir():
            ignored = (ROOT / '.dockerignore').read_text().split()
            ignored = [name.removeprefix('**/') for name in ignored]
            shutil.copytree(
                source,
                place,
                dirs_exist_ok=True,
                symlinks=True,
                ignore=shutil.ignore_patterns(*ignored),
            )
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def main() -> None:
    """Run all steps, then the command of the image."""
    processes = (os.getpid(), os.getppid())
    if len({os.readlink(f'/proc/{each}/ns/mnt') for each in processes}) == 1:
        raise SystemExit('its mounts would stay: run it by unshare --mount')
    given = dict(word.split('=', 1) for word in sys.argv[1:])
    scratch = Path(tempfile.mkdtemp(prefix='dockerfile'))
    # Layers cannot lie on a layer, which / may be.
    subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', scratch], check=True)
    stages: dict[str, Stage] = {}
    command = []
    for word, rest in read_steps((ROOT / 'Dockerfile').read_text()):
        if word == 'FROM':
            base, *name = rest.split(' AS ')
            name = name[0] if name else 'last'
            stages[name] = stage = Stage(base, scratch / name)
        elif word == 'ARG':
            key, _, value = rest.partition('=')
            stage.environment[key] = given.get(key, value)
        elif word == 'ENV':
            key, _, value = rest.partition('=')
            stage.environment[key] = value
        elif word == 'WORKDIR':
            stage.folder = rest
            stage.path('').mkdir(parents=True, exist_ok=True)
        elif word == 'COPY':
            *options, source, target = rest.split()
            origin = ROOT / source
            if options:
                other = stages[options[0].removeprefix('--from=')]
                origin = other.path(source)
            stage.copy(origin, target)
        elif word == 'RUN':
            stage.run(rest)
        elif word in ('ENTRYPOINT', 'CMD'):
            command += json.loads(rest)
        elif word == 'USER':
            stage.user = rest
        else:
            raise SystemExit(f'{word} is not known here: {rest}')
    stage.run(' '.join(command))


if __name__ == '__main__':
    main()
