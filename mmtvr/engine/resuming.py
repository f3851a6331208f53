"""Choose where a stopped training goes on, and say so."""

from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from mmtvr.atomic_file import remove_partial_files
from mmtvr.engine.failing_together import failing_together
from mmtvr.engine.good_checkpoints import LAST, check_given, last_good
from mmtvr.engine.loops import bare_model


def clean_up(runner: Runner, folder: Path) -> None:
    """Remove what a killed run left half written.

    Args:
        runner: The runner, for its log and work folder.
        folder: Where the checkpoints lie.
    """
    if not is_main_process():
        return
    removed = remove_partial_files(folder, '*.pth')
    removed += remove_partial_files(Path(runner.work_dir), LAST)
    if removed:
        runner.logger.warning(
            'Removed what a run that was killed left half written: '
            + ', '.join(map(str, removed))
        )


def choose_checkpoint(runner: Runner, folder: Path) -> None:
    """Let the runner go on from the last good checkpoint, or the given one.

    Args:
        runner: A runner that is to go on; its ``load_from`` may name a file.
        folder: Where the checkpoints lie.

    Raises:
        SetupError: The given one is not good, or none is.
    """
    chosen = [runner._load_from]
    with failing_together():
        if is_main_process():
            chosen = [_choose(runner, folder)]
    broadcast_object_list(chosen)
    runner._load_from = chosen[0]
    # Without any checkpoint mmengine would look for one again.
    runner._resume = chosen[0] is not None


def _choose(runner: Runner, folder: Path) -> str | None:
    model, given = bare_model(runner.model), runner._load_from
    if given is not None:
        if '://' not in given:
            check_given(Path(given), model)
        return given
    path, faults = last_good(folder, Path(runner.work_dir), model)
    if path is None:
        runner.logger.warning(
            f'There is no checkpoint in {folder}: training starts from the '
            'beginning.'
        )
        return None
    for fault in faults:
        runner.logger.warning(f'{fault}; going on from {path}')
    return str(path)
