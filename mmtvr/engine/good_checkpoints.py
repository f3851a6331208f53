"""Tell a checkpoint that training can go on from, from what is none."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from mmtvr.checkpoints import read_checkpoint
from mmtvr.errors import SetupError

NEEDED = ('meta', 'state_dict', 'message_hub', 'optimizer')
LAST = 'last_checkpoint'
NAMES_SHOWN = 3


def find_fault(path: Path, model: nn.Module) -> str | None:
    """Say what keeps training from going on from a file.

    ``torch.save`` writes a zip archive, whose list of contents comes last and
    has a checksum of each part: one cut short and one with a wrong bit show.

    Args:
        path: The file.
        model: The model to be trained, not wrapped.

    Returns:
        What is wrong, as the rest of a sentence; None for a good one.
    """
    if not path.is_file():
        return 'does not exist'
    return find_damage(path) or find_misfit(path, model)


def find_damage(path: Path) -> str | None:
    """Say how a file differs from a whole archive of ``torch.save``.

    Args:
        path: The file.

    Returns:
        What is wrong, as the rest of a sentence, or None.
    """
    size = path.stat().st_size
    if size == 0:
        return 'is empty'
    if not zipfile.is_zipfile(path):
        with path.open('rb') as file:
            begun = file.read(4) == b'PK\x03\x04'
        if begun:
            return f'is truncated (its end is missing after {size:,} bytes)'
        return 'is no checkpoint (torch.save writes zip archives)'
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f'is damaged ({error})'
    return wrong and f'is damaged (the checksum of {wrong} is another)'


def find_misfit(path: Path, model: nn.Module) -> str | None:
    """Say why a whole checkpoint is none of this training.

    Args:
        path: A file without damage.
        model: The model to be trained, not wrapped.

    Returns:
        What is wrong, as the rest of a sentence, or None.
    """
    try:
        content = read_checkpoint(path)
    except SetupError as error:
        return f'is foreign ({error})'
    missing = [name for name in NEEDED if name not in content]
    if missing:
        return f'holds weights but not the {" and ".join(missing)}'
    found = {
        name.removeprefix('module.'): getattr(tensor, 'shape', None)
        for name, tensor in content['state_dict'].items()
    }
    wanted = {name: each.shape for name, each in model.state_dict().items()}
    other = [
        name
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    ]
    if other:
        return (
            f'is of another model ({len(other)} weights are missing, too many '
            f'or of another shape, the first is {other[0]})'
        )
    return None


def candidates(folder: Path, work_dir: Path) -> Iterator[Path]:
    """Checkpoints of a run, the last one first.

    Args:
        folder: Where they lie.
        work_dir: Where the file ``last_checkpoint`` lies.

    Yields:
        What ``last_checkpoint`` names, then those of the folder, the youngest
        first. The best ones are none: training cannot go on from them.
    """
    pointer = work_dir / LAST
    last = None
    if pointer.is_file() and (name := pointer.read_text().strip()):
        last = Path(name)
        if not last.is_file() and (folder / last.name).is_file():
            last = folder / last.name
        yield last
    found = (p for p in folder.glob('*.pth') if not p.name.startswith('best_'))
    for path in sorted(
        found, key=lambda p: p.stat().st_mtime_ns, reverse=True
    ):
        if last is None or path.resolve() != last.resolve():
            yield path


def last_good(
    folder: Path, work_dir: Path, model: nn.Module
) -> tuple[Path | None, list[str]]:
    """Find the checkpoint that training goes on from.

    Args:
        folder: Where the checkpoints lie.
        work_dir: Where the file ``last_checkpoint`` lies.
        model: The model to be trained, not wrapped.

    Returns:
        The last good one, None if there is no checkpoint at all; and what is
        wrong with each that would have come before it.

    Raises:
        SetupError: There are checkpoints, and none of them is good.
    """
    faults = []
    for path in candidates(folder, work_dir):
        fault = find_fault(path, model)
        if fault is None:
            return path, faults
        faults.append(f'{path} {fault}')
    if faults:
        listed = '\n  '.join(faults)
        raise SetupError(
            f'no checkpoint of {folder} can be gone on from:\n  {listed}\n'
            'Name another one by --resume CHECKPOINT, or leave --resume out '
            'to start from the beginning.'
        )
    return None, faults


def check_given(path: Path, model: nn.Module) -> None:
    """Check the checkpoint that the user named to go on from.

    Args:
        path: What the user named.
        model: The model to be trained, not wrapped.

    Raises:
        SetupError: It is not good; names those beside it that are.
    """
    fault = find_fault(path, model)
    if fault is None:
        return
    good = [
        str(other)
        for other in candidates(path.parent, path.parent)
        if other.resolve() != path.resolve()
        and find_fault(other, model) is None
    ][:NAMES_SHOWN]
    beside = (
        f'Good ones beside it: {", ".join(good)}.'
        if good
        else f'There is no good one in {path.parent}.'
    )
    raise SetupError(
        f'training cannot go on from {path}: it {fault}. {beside}'
    )
