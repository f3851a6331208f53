"""Checkpoints that a kill or a full disk cannot spoil, and how to go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmtvr.atomic_file import write_atomically
from mmtvr.engine.atomic_backend import ATOMIC
from mmtvr.engine.failing_together import failing_together
from mmtvr.engine.good_checkpoints import LAST
from mmtvr.engine.plain_hub import hub_with_histories, plain, plain_hub
from mmtvr.engine.resuming import choose_checkpoint, clean_up
from mmtvr.registry import HOOKS

STATE = 'mmtvr_train_loop'
#: In the message hub: files that go once the checkpoint that says so is safe.
OUTDATED = 'mmtvr_outdated'
KEPT_ITERATIONS = 2
HINT = '. The checkpoints before it are whole: make room, then --resume'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save checkpoints so that the last good one is always there.

    Each is written to a file beside it, brought to the disk and renamed; only
    then are older ones removed. What a killed run left half written is
    removed at the next start. A full disk stops the run with one message.

    ``--resume`` goes on from the last checkpoint that is whole and of this
    model, and says what was wrong with later ones; one that was named must
    be good. With :class:`ResumableTrainLoop` the run goes on as if it had
    never stopped. Checkpoints hold plain data and load by
    ``torch.load(..., weights_only=True)``.

    Args:
        every_n_iters (int, optional): Save after each so many iterations too,
            as ``iter_N.pth``. Two of these are kept, and none after the end
            of training. Defaults to None: only as mmengine's arguments say.
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
        """Clean up after a killed run and choose where to go on."""
        if not isinstance(runner._train_loop, BaseLoop):
            return
        folder = self.out_dir or runner.work_dir
        if '://' in str(folder):
            return
        if self.out_dir is not None:
            folder = Path(folder, Path(runner.work_dir).name)
        if self.backend_args is None and self.file_client_args is None:
            self.backend_args = dict(backend=ATOMIC)
        clean_up(runner, Path(folder))
        if runner._resume and not runner._has_loaded:
            choose_checkpoint(runner, Path(folder))

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
        checkpoint['message_hub'] = plain_hub(checkpoint['message_hub'])
        checkpoint['meta'] = plain(checkpoint['meta'])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take up the place in training."""
        if 'message_hub' in checkpoint:
            hub = hub_with_histories(checkpoint['message_hub'])
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
        with failing_together(HINT):
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
        with failing_together(HINT):
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
