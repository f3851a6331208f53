"""Which checkpoint a path means."""

from pathlib import Path

from mmtvr.errors import SetupError

LAST = 'last_checkpoint'
BEST = 'best_*.pth'
# In place of a checkpoint: the encoders as they were pretrained.
PRETRAINED = 'none'


def find_checkpoint(path: str | Path) -> Path:
    """Find the checkpoint of a run.

    Args:
        path: A checkpoint, or the work folder of a run, of which the best
            checkpoint is taken, else the last one.

    Returns:
        The file.

    Raises:
        SetupError: There is no checkpoint.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise SetupError(
            f'there is no checkpoint or work folder {path} (looked from '
            f'{Path.cwd()})'
        )
    best = sorted(path.glob(BEST), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    note = path / LAST
    if note.is_file():
        # The run may have been moved since: what counts is its name.
        name = Path(note.read_text().strip()).name
        if (path / name).is_file():
            return path / name
    raise SetupError(
        f'{path} holds no checkpoint (neither {BEST} nor {LAST}): train '
        'first, `python tools/train.py CONFIG`'
    )
