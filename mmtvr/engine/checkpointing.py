"""Checkpoints that survive a kill or a full disk, and how to resume.

:class:`AtomicCheckpointHook` writes them; :func:`find_resumable` and
:func:`check_checkpoint` decide which one a run resumes from; the functions
after them keep the message hub as plain data, so that loading executes no
code.
"""

import contextlib
import logging
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import Tensor, nn

from mmtvr.checkpoints import LAST, read_checkpoint
from mmtvr.engine.loops import unwrap_model
from mmtvr.errors import SetupError
from mmtvr.files import remove_partial_files, write_atomically
from mmtvr.registry import HOOKS

#: Key of a checkpoint: what ``ResumableTrainLoop.state_dict`` gave.
STATE = 'mmtvr_train_loop'
#: In the message hub: files that go once the checkpoint that says so is safe.
OUTDATED = 'mmtvr_outdated'
REQUIRED = ('meta', 'state_dict', 'message_hub', 'optimizer')
KEPT_ITERATIONS = 2
MAX_NAMES = 3
HINT = '. The checkpoints before it are whole: free some space, then --resume'
ATOMIC = 'mmtvr.atomic'


class AtomicBackend(LocalBackend):
    """Local files that are there as a whole or not at all.

    See :func:`mmtvr.files.write_atomically`.

    Example:
        >>> default_hooks = dict(checkpoint=dict(
        ...     type='CheckpointHook',
        ...     backend_args=dict(backend='mmtvr.atomic')))
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_atomically(filepath, obj)

    def put_text(
        self, obj: str, filepath: str | Path, encoding: str = 'utf-8'
    ) -> None:
        """Write a text."""
        write_atomically(filepath, obj.encode(encoding))


register_backend(ATOMIC, AtomicBackend, force=True)


@contextlib.contextmanager
def raise_on_all_ranks(hint: str = '') -> Iterator[None]:
    """Raise on all processes what failed on the first one.

    A collective operation. Without it the others would wait for the first
    one until their timeout.

    Args:
        hint: Appended to the message.

    Raises:
        SetupError: The first process raised one, or an ``OSError``.
    """
    problem = [None]
    try:
        yield
    except (SetupError, OSError) as error:
        problem = [f'{error}{hint}']
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise SetupError(problem[0])


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save checkpoints so that the last good one is always there.

    Each is written to a file beside it, brought to the disk and renamed; only
    then are older ones removed. What a killed run left half written is
    removed at the next start. A full disk stops the run with one message.

    ``--resume`` continues from the last checkpoint that is whole and of this
    model, and logs what was wrong with later ones; one that was named must
    be good. With :class:`ResumableTrainLoop` the run continues as if it had
    never stopped. Checkpoints hold plain data and load by
    ``torch.load(..., weights_only=True)``.

    Args:
        every_n_iters (int, optional): Save after each so many iterations too,
            as ``iter_N.pth``. Two of these are kept, and none after the end
            of training.
        **kwargs: Arguments of mmengine's ``CheckpointHook``.

    Raises:
        ValueError: ``every_n_iters`` with ``by_epoch=False``, which already
            saves by iterations.
    """

    def __init__(
        self, every_n_iters: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if every_n_iters is not None and not self.by_epoch:
            raise ValueError('by_epoch=False takes interval, no every_n_iters')
        self.every = every_n_iters
        self.iteration_ids: list[int] = []
        self._state: dict | None = None

    def before_run(self, runner: Runner) -> None:
        """Clean up after a killed run and choose where to resume."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        folder = self.out_dir or runner.work_dir
        if '://' in str(folder):
            return
        if self.out_dir is not None:
            folder = Path(folder, Path(runner.work_dir).name)
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)
        folder = Path(folder)
        if is_main_process():
            _remove_leftovers(runner, folder)
        if not runner._resume or runner._has_loaded:
            return
        chosen = [runner._load_from]
        with raise_on_all_ranks():
            if is_main_process():
                chosen = [_choose_checkpoint(runner, folder)]
        broadcast_object_list(chosen)
        runner._load_from = chosen[0]
        # Without any checkpoint mmengine would look for one again.
        runner._resume = chosen[0] is not None

    def before_train(self, runner: Runner) -> None:
        """Finish what the run before was about to remove."""
        super().before_train(runner)
        hub = runner.message_hub
        self.iteration_ids = list(hub.get_info('keep_iter_ids', []))
        self._remove_outdated(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the place in training, and make all of it plain data."""
        if 'optimizer' in checkpoint and self._state is not None:
            checkpoint[STATE] = self._state
        checkpoint['message_hub'] = serialize_message_hub(
            checkpoint['message_hub']
        )
        checkpoint['meta'] = to_plain(checkpoint['meta'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up the place in training."""
        if 'message_hub' in checkpoint:
            hub = deserialize_message_hub(checkpoint['message_hub'])
            checkpoint['message_hub'] = hub
        loop = runner._train_loop
        if runner._resume and STATE in checkpoint:
            # Another loop has no use for it.
            getattr(loop, 'load_state_dict', bool)(checkpoint[STATE])

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Save where it is time."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.every and self.every_n_train_iters(runner, self.every):
            step = runner.iter + 1
            self.iteration_ids.append(step)
            outdated = self.iteration_ids[:-KEPT_ITERATIONS]
            del self.iteration_ids[:-KEPT_ITERATIONS]
            runner.message_hub.update_info(
                'keep_iter_ids', list(self.iteration_ids)
            )
            self._save(
                runner,
                f'iter_{step}.pth',
                dict(epoch=runner.epoch, iter=step),
                [f'iter_{old}.pth' for old in outdated],
            )

    def after_train(self, runner: Runner) -> None:
        """Remove the checkpoints between epochs, and publish if asked."""
        last = self._path(self.filename_tmpl.format(runner.epoch))
        if self.iteration_ids and self.file_backend.isfile(last):
            names = [f'iter_{step}.pth' for step in self.iteration_ids]
            self._add_outdated(runner, [self._path(name) for name in names])
            self._remove_outdated(runner)
        super().after_train(runner)

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: dict
    ) -> None:
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = [self.filename_tmpl.format(self.keep_ckpt_ids[0])]
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info(
                'keep_ckpt_ids', list(self.keep_ckpt_ids)
            )
        self._save(runner, self.filename_tmpl.format(step), meta, outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
        step = runner.epoch if self.by_epoch else runner.iter
        better = [
            self._save_if_best(runner, step, key, metrics[key])
            for key in self.key_indicators
        ]
        if any(better) and self.last_ckpt is not None:
            # Again, with the best score in it.
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)
        else:
            self._remove_outdated(runner)

    def _save_if_best(
        self, runner: Runner, step: int, key: str, score: float | None
    ) -> bool:
        hub, end = runner.message_hub, ''
        if len(self.key_indicators) > 1:
            end = f'_{key}'
        rule = self.rules[self.key_indicators.index(key)]
        best = hub.get_info(f'best_score{end}', self.init_value_map[rule])
        if score is None or not self.is_better_than[key](score, best):
            return False
        before = hub.get_info(f'best_ckpt{end}')
        name = f'best_{key}_{self.filename_tmpl.format(step)}'
        name = name.replace('/', '_')
        path = self._path(name)
        hub.update_info(f'best_score{end}', score)
        hub.update_info(f'best_ckpt{end}', path)
        if end:
            self.best_ckpt_path_dict[key] = path
        else:
            self.best_ckpt_path = path
        with raise_on_all_ranks(HINT):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=dict(epoch=runner.epoch, iter=runner.iter),
                by_epoch=False,
                backend_args=self.backend_args,
            )
        if before:
            self._add_outdated(runner, [before])
        runner.logger.info(f'The best checkpoint, {key} {score:0.4f}: {path}')
        return True

    def _save(
        self, runner: Runner, name: str, meta: dict, outdated: Sequence[str]
    ) -> None:
        """Write a checkpoint, point to it, then remove the outdated ones.

        Hooks with a method ``before_checkpoint(runner)`` get a call on all
        processes, to put what they keep into the message hub.
        """
        runner.call_hook('before_checkpoint')
        self.last_ckpt = self._path(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        self._add_outdated(runner, [self._path(old) for old in outdated])
        loop = runner.train_loop
        self._state = getattr(loop, 'state_dict', lambda: None)()
        with raise_on_all_ranks(HINT):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                pointer = Path(runner.work_dir, LAST)
                write_atomically(pointer, self.last_ckpt.encode())
        self._remove_outdated(runner)

    def _path(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _add_outdated(self, runner: Runner, paths: Sequence[str]) -> None:
        hub = runner.message_hub
        hub.update_info(OUTDATED, [*hub.get_info(OUTDATED, []), *paths])

    def _remove_outdated(self, runner: Runner) -> None:
        infos = runner.message_hub.runtime_info
        used = {infos[key] for key in infos if key.startswith('best_ckpt')}
        used.add(self.last_ckpt)
        if is_main_process():
            for path in infos.get(OUTDATED, []):
                if path not in used and self.file_backend.isfile(path):
                    self.file_backend.remove(path)
        runner.message_hub.update_info(OUTDATED, [])


def _remove_leftovers(runner: Runner, folder: Path) -> None:
    removed = remove_partial_files(folder, '*.pth')
    removed += remove_partial_files(Path(runner.work_dir), LAST)
    if removed:
        runner.logger.warning(
            'Removed what a run that was killed left half written: '
            + ', '.join(map(str, removed))
        )


def _choose_checkpoint(runner: Runner, folder: Path) -> str | None:
    """The given checkpoint of a runner, or the last good one in a folder."""
    model, given = unwrap_model(runner.model), runner._load_from
    if given is not None:
        if '://' not in given:
            check_checkpoint(Path(given), model)
        return given
    path, problems = find_resumable(folder, Path(runner.work_dir), model)
    if path is None:
        runner.logger.warning(
            f'There is no checkpoint in {folder}: training starts from the '
            'beginning.'
        )
        return None
    for problem in problems:
        runner.logger.warning(f'{problem}; resuming from {path}')
    return str(path)


def find_resumable(
    folder: Path, work_dir: Path, model: nn.Module
) -> tuple[Path | None, list[str]]:
    """Find the last checkpoint of a run that is whole and of this model.

    Args:
        folder: Where the checkpoints lie.
        work_dir: Where the file ``last_checkpoint`` lies.
        model: The model to be trained, not wrapped.

    Returns:
        The checkpoint, None if there is none at all; and what is wrong with
        each later one.

    Raises:
        SetupError: There are checkpoints, and none of them is good.
    """
    problems = []
    for path in _candidates(folder, work_dir):
        problem = find_problem(path, model)
        if problem is None:
            return path, problems
        problems.append(f'{path} {problem}')
    if problems:
        listed = '\n  '.join(problems)
        raise SetupError(
            f'training cannot resume from any checkpoint of {folder}:\n'
            f'  {listed}\n'
            'Name another one by --resume CHECKPOINT, or leave --resume out '
            'to start from the beginning.'
        )
    return None, problems


def check_checkpoint(path: Path, model: nn.Module) -> None:
    """Check the checkpoint that the user named to resume from.

    Raises:
        SetupError: It is not good; names those beside it that are.
    """
    problem = find_problem(path, model)
    if problem is None:
        return
    good = [
        str(other)
        for other in _candidates(path.parent, path.parent)
        if other.resolve() != path.resolve()
        and find_problem(other, model) is None
    ][:MAX_NAMES]
    beside = (
        f'Good ones beside it: {", ".join(good)}.'
        if good
        else f'There is no good one in {path.parent}.'
    )
    raise SetupError(
        f'training cannot resume from {path}: it {problem}. {beside}'
    )


def find_problem(path: Path, model: nn.Module) -> str | None:
    """What keeps training from resuming from a file; None for a good one.

    ``torch.save`` writes a zip archive, whose list of contents comes last and
    has a checksum of each part: one cut short and one with a wrong bit show.

    Args:
        path: The file.
        model: The model to be trained, not wrapped.

    Returns:
        The rest of a sentence that begins with the path, or None.
    """
    if not path.is_file():
        return 'does not exist'
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
    if wrong:
        return f'is damaged (the checksum of {wrong} does not match)'
    try:
        content = read_checkpoint(path)
    except SetupError as error:
        return f'is foreign ({error})'
    missing = [name for name in REQUIRED if name not in content]
    if missing:
        return f'holds weights but not the {" and ".join(missing)}'
    found = {
        name.removeprefix('module.'): getattr(tensor, 'shape', None)
        for name, tensor in content['state_dict'].items()
    }
    expected = {name: each.shape for name, each in model.state_dict().items()}
    different = [
        name
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]
    if different:
        return (
            f'is of another model ({len(different)} weights are missing, too '
            f'many or of another shape, the first is {different[0]})'
        )
    return None


def _candidates(folder: Path, work_dir: Path) -> Iterator[Path]:
    """Checkpoints of a run, the last one first.

    What ``last_checkpoint`` names, then those of the folder, the youngest
    first. The best ones are none: training cannot resume from them.
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


def serialize_message_hub(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a message hub in built-in types and tensors.

    Args:
        state: From ``MessageHub.state_dict``. Information that is nothing of
            these is left out, with a warning.
    """
    infos = {}
    for name, value in state['runtime_info'].items():
        try:
            infos[name] = to_plain(value)
        except TypeError as error:
            print_log(
                f'{name} of the message hub is not saved: {error}',
                'current',
                logging.WARNING,
            )
    scalars = {}
    for name, history in state['log_scalars'].items():
        values, counts = (torch.from_numpy(x.copy()) for x in history.data)
        scalars[name] = dict(
            values=values, counts=counts, max_length=history.max_length
        )
    return dict(
        log_scalars=scalars,
        runtime_info=infos,
        resumed_keys={
            name: bool(resumed)
            for name, resumed in state['resumed_keys'].items()
            if name in scalars or name in infos
        },
    )


def deserialize_message_hub(state: Mapping[str, Any]) -> dict[str, Any]:
    """What ``MessageHub.load_state_dict`` takes.

    Args:
        state: From :func:`serialize_message_hub`; one of mmengine itself
            stays as it is.
    """
    scalars = {
        name: HistoryBuffer(
            value['values'].cpu().numpy(),
            value['counts'].cpu().numpy(),
            value['max_length'],
        )
        if isinstance(value, dict)
        else value
        for name, value in state['log_scalars'].items()
    }
    return {**state, 'log_scalars': scalars}


def to_plain(value: Any) -> Any:
    """A value in built-in types and tensors.

    Raises:
        TypeError: It holds something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        kind = next(k for k in (list, tuple, set) if isinstance(value, k))
        return kind(to_plain(each) for each in value)
    if value is None or isinstance(value, str | int | float | bool | Tensor):
        return value
    raise TypeError(f'{type(value).__name__} is no plain data')
