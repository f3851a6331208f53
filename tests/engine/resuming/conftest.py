"""A toy training that draws from every generator, to be stopped."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import distributed as dist
from torch.utils.data import Dataset

from mmtvr.engine.checkpointing import STATE

TIMES = ('time', 'memory')


class KilledError(Exception):
    pass


class KillHook(Hook):
    """Stop at an iteration, after everything else, or in a validation."""

    priority = 'LOWEST'

    def __init__(self, iteration=None, validation=None):
        self.iteration = iteration
        self.validation = validation

    def after_train_iter(self, runner, batch_idx, *_, **__):
        if runner.iter + 1 == self.iteration:
            raise KilledError

    def after_val_iter(self, runner, *_, **__):
        if runner.epoch == self.validation:
            raise KilledError


class NoisyDataset(Dataset):
    """Samples that draw from every generator; some stand for another."""

    metainfo = {}

    def __init__(self, size, loaded=None):
        self.size = size
        self.loaded = loaded

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if self.loaded is not None:
            with self.loaded.open('a') as file:
                file.write(f'{index}\n')
        while index % 5 == 3:
            index = np.random.randint(self.size)
        noise = random.random() + np.random.rand() + torch.rand(()).item()
        return dict(inputs=torch.full((4,), index + noise))


class DropoutModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )

    def forward(self, inputs, mode='tensor'):
        out = self.layers(torch.stack(inputs) / 10).mean()
        if mode == 'loss':
            return dict(loss=(out - random.random() - np.random.rand()) ** 2)
        return [dict(out=out.item())]


class Mean(BaseMetric):
    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results += [sample['out'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(mean=float(np.mean(results)))


@pytest.fixture(scope='session')
def train_in():
    """Train the toy in a folder; returns the last checkpoint, or None."""

    def run(work, hook=None, kill=None, accumulate=1, **loader):
        torch.manual_seed(5)
        size = loader.pop('size', 23)
        loaded = loader.pop('loaded', None)
        resume = loader.pop('resume', False)
        hooks = [KillHook(**kill)] if kill else []
        hooks += loader.pop('custom_hooks', [])
        runner = Runner(
            DropoutModel(),
            work_dir=str(work),
            train_dataloader={
                'batch_size': 4,
                'num_workers': 0,
                'sampler': dict(type='DefaultSampler', shuffle=True),
                'dataset': NoisyDataset(size, loaded),
                **loader,
            },
            train_cfg=dict(type='mmtvr.ResumableTrainLoop', max_epochs=3),
            optim_wrapper=dict(
                optimizer=dict(type='AdamW', lr=0.05),
                accumulative_counts=accumulate,
            ),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=5, by_epoch=False),
                dict(type='StepLR', step_size=1, gamma=0.7),
            ],
            val_dataloader=dict(
                batch_size=4,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=NoisyDataset(6),
            ),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=Evaluator(Mean()),
            default_hooks=dict(
                checkpoint={
                    'type': 'mmtvr.AtomicCheckpointHook',
                    'interval': 1,
                    'every_n_iters': 2,
                    'max_keep_ckpts': 2,
                    'save_best': 'toy/mean',
                    'rule': 'greater',
                    **(hook or {}),
                }
            ),
            custom_hooks=hooks,
            resume=bool(resume),
            load_from=resume if isinstance(resume, str) else None,
            launcher='pytorch' if dist.is_initialized() else 'none',
            default_scope='mmtvr',
            experiment_name=f'toy_{random.Random().random()}',
            log_level='WARNING',
            randomness=dict(seed=3),
            cfg=dict(
                model_wrapper_cfg=dict(
                    type='MMDistributedDataParallel', device_ids=None
                )
            ),
        )
        try:
            runner.train()
        except KilledError:
            return None
        return torch.load(work / 'epoch_3.pth', weights_only=True)

    return run


@pytest.fixture
def work(tmp_path):
    """Folder of the run that is stopped."""
    return tmp_path / 'work'


@pytest.fixture
def train(train_in, work):
    """Train the toy in ``work``."""
    return lambda **options: train_in(work, **options)


@pytest.fixture
def log(work):
    """What the runs in ``work`` logged."""
    return lambda: '\n'.join(p.read_text() for p in work.glob('*/*.log'))


@pytest.fixture(scope='session')
def unbroken(train_in, tmp_path_factory):
    """Last checkpoint of a run that is not stopped; made once per loader."""
    made = {}

    def make(**loader):
        key = repr(sorted(loader.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp('unbroken')
            made[key] = train_in(folder, **loader)
        return made[key]

    return make


def comparable(checkpoint):
    """Everything of a checkpoint but clocks and paths."""
    hub = checkpoint['message_hub']
    scalars = {
        name: {key: torch.as_tensor(each).tolist() for key, each in h.items()}
        for name, h in hub['log_scalars'].items()
        if not any(word in name for word in TIMES)
    }
    infos = {
        name: Path(value).name if name.endswith('_ckpt') else value
        for name, value in hub['runtime_info'].items()
        if name not in ('experiment_name', 'eta', 'cfg', 'mmtvr_outdated')
    }
    return dict(
        scalars=scalars,
        infos=infos,
        weights={k: v.tolist() for k, v in checkpoint['state_dict'].items()},
        optimizer=str(checkpoint['optimizer']),
        schedulers=str(checkpoint['param_schedulers']),
        place=str(checkpoint[STATE]),
    )


@pytest.fixture(scope='session')
def all_but_clocks():
    """What must be the same in two checkpoints of the same place."""
    return comparable


@pytest.fixture(scope='session')
def assert_same():
    """Compare two checkpoints part by part."""

    def check(one, other):
        one, other = comparable(one), comparable(other)
        for key in one:
            assert one[key] == other[key], key

    return check
