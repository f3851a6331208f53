"""Published numbers: what it takes to check them, and the check."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config

from mmtvr.config import load_config, walk
from mmtvr.config.preflight import build_runner, check_runner
from mmtvr.datasets.annotations import read_annotations
from mmtvr.distributed.launch import prepare_launch
from mmtvr.errors import SetupError
from mmtvr.evaluation.protocols import describe_misfit, find_protocol
from mmtvr.pretrained import resolve_pretrained

STAGES = ('train', 'val', 'test')
LEVELS = ('R1', 'R5', 'R10')
#: Points of recall, above or below. The standard error of a share of 45 % of
#: 1,000 queries is 1.6.
TOLERANCE = 1.5
# Calculated by ``benchmarks/plan_training.py``, in float32, never measured:
# what backward keeps of a pair of 12 frames and 32 words, and weights with
# gradients and moments.
PAIR_BYTES = {'ViT-B/32': 390e6, 'ViT-B/16': 1495e6}
MODEL_BYTES = 16 * 151e6
PREPARE = (
    'get the annotation files and videos from their authors (terms and names '
    'in tools/data/README.md), then `python tools/data/msrvtt/prepare.py DIR`'
)


class Target(NamedTuple):
    """A published result of the field and the recipe that should reach it.

    Attributes:
        config: The recipe, in ``configs``.
        system: What the number is of.
        backbone: CLIP's image tower.
        cited: Text to video ``R1``, ``R5``, ``R10`` in percent, as far as
            they are stated.
        source: Who states them, and where.
        protocol: See :mod:`mmtvr.evaluation.protocols`.
        tolerance: Points of recall, above or below.
    """

    config: str
    system: str
    backbone: str
    cited: dict[str, float]
    source: str
    protocol: str = 'msrvtt/1k-A'
    tolerance: float = TOLERANCE


def _recalls(*values: float) -> dict[str, float]:
    return dict(zip(LEVELS, values, strict=False))


GARE = 'GARE, arXiv:2505.12499'
TARGETS = {
    'clip4clip_msrvtt': Target(
        'clip4clip_msrvtt.py',
        'CLIP4Clip',
        'ViT-B/32',
        _recalls(44.5, 71.4, 81.6),
        f'{GARE}, Table 1',
    ),
    'ti_msrvtt': Target(
        'ti_msrvtt.py',
        'TI + seqTransf',
        'ViT-B/32',
        _recalls(44.8, 73.0, 82.2),
        'README of DRL (foolwood/DRL)',
    ),
    'wti_msrvtt': Target(
        'wti_msrvtt.py',
        'WTI + seqTransf',
        'ViT-B/32',
        _recalls(46.6, 73.4, 83.5),
        'README of DRL (foolwood/DRL)',
    ),
    'dmae_msrvtt': Target(
        'dmae_msrvtt.py',
        'DMAE (stated of the whole method)',
        'ViT-B/32',
        _recalls(46.9),
        f'{GARE}, appendix C.5',
    ),
    'tpmcl_msrvtt': Target(
        'tpmcl_msrvtt.py',
        'DMAE with TPM-CL',
        'ViT-B/32',
        _recalls(46.9),
        f'{GARE}, appendix C.5',
    ),
    'tpmcl_msrvtt_vit-b16': Target(
        'tpmcl_msrvtt_vit-b16.py',
        'DMAE with TPM-CL',
        'ViT-B/16',
        _recalls(49.9, 75.8, 85.5),
        'MemVerse, arXiv:2512.03627, Table 2',
    ),
}


class Missing(NamedTuple):
    """Something that a reproduction needs and that is not there."""

    what: str
    fix: str


class Comparison(NamedTuple):
    """What was measured beside what is cited.

    Attributes:
        rows: Recall to measured and cited value, in percent.
        tolerance: Points.
        misfit: Why the table is none of the protocol, or None.
    """

    rows: dict[str, tuple[float, float]]
    tolerance: float
    misfit: str | None

    @property
    def is_within(self) -> bool:
        """Whether every stated number was met under its protocol."""
        near = (abs(a - b) <= self.tolerance for a, b in self.rows.values())
        return self.misfit is None and all(near)


def find_target(name: str) -> Target:
    """The target of a name.

    Raises:
        SetupError: There is none.
    """
    if name not in TARGETS:
        raise SetupError(
            f'there is no published number {name!r} to reproduce; known are '
            f'{", ".join(TARGETS)}'
        )
    return TARGETS[name]


def load_recipe(
    target: Target,
    configs: str | os.PathLike[str] = 'configs',
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
) -> Config:
    """Read the recipe of a target; a run goes on where it was stopped.

    Args:
        target: The target.
        configs: The folder ``configs`` of a checkout.
        options: See :func:`mmtvr.config.load_config`.
        work_dir: Likewise.

    Raises:
        SetupError: See :func:`mmtvr.config.load_config`.
    """
    path = str(Path(configs, target.config))
    work_dir = work_dir or f'work_dirs/reproduce/{Path(path).stem}'
    cfg = load_config(path, options, work_dir)
    cfg.resume, cfg.load_from = True, None
    return cfg


def find_missing(
    target: Target, cfg: Config, allow_cpu: bool = False
) -> list[Missing]:
    """Look for everything that a run needs, without starting it.

    Args:
        target: The target.
        cfg: Its recipe.
        allow_cpu: Do without a GPU.
    """
    return [
        *_missing_data(cfg),
        *_missing_weights(cfg),
        *_wrong_batch(cfg),
        *([] if allow_cpu else _missing_gpu(target, cfg)),
    ]


def _datasets(cfg: Config) -> Iterator[tuple[Path, Path]]:
    """Annotation file and folder of videos of each stage, each pair once."""
    seen = set()
    for stage in STAGES:
        dataset = cfg[f'{stage}_dataloader'].dataset
        root = Path(dataset.get('data_root') or '')
        prefix = (dataset.get('data_prefix') or {}).get('video', 'videos')
        pair = root / dataset.ann_file, root / prefix
        if pair not in seen:
            seen.add(pair)
            yield pair


def _missing_data(cfg: Config) -> Iterator[Missing]:
    for annotation, folder in _datasets(cfg):
        if not annotation.is_file():
            yield Missing(f'annotation file {annotation}', PREPARE)
            continue
        files = {record.file for record in read_annotations(annotation)}
        absent = sorted(f for f in files if not (folder / f).is_file())
        if absent:
            yield Missing(
                f'{len(absent):,} of the {len(files):,} videos of '
                f'{annotation} in {folder}, such as {absent[0]}',
                f'put them there, then `python tools/data/msrvtt/verify.py '
                f'{annotation.parent}`',
            )


def _missing_weights(cfg: Config) -> Iterator[Missing]:
    from huggingface_hub import try_to_load_from_cache

    names = {
        node[key]
        for _, node in walk(cfg.to_dict())
        for key in ('clip', 'tokenizer')
        if isinstance(node.get(key), str)
    }
    for name in sorted(names):
        location = resolve_pretrained(name)
        there = Path(location).is_dir() or isinstance(
            try_to_load_from_cache(location, 'config.json'), str
        )
        if not there:
            yield Missing(
                f'pretrained weights and tokenizer {name}',
                f'`hf download {name}` where there is a network, and copy '
                'the cache',
            )


def _wrong_batch(cfg: Config) -> Iterator[Missing]:
    size, processes = _batch(cfg)
    wanted = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if wanted and size * processes != wanted:
        yield Missing(
            f'a global batch of {wanted}, for which the learning rate is '
            f'meant: {processes} process(es) with {size} make '
            f'{size * processes}',
            '--cfg-options train_dataloader.batch_size='
            f'{max(1, wanted // processes)} model.cached_contrastive.chunk='
            f'{min(size, 16)}, which gives the same gradients in less memory',
        )


def _batch(cfg: Config) -> tuple[int, int]:
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    processes = int(os.environ.get('WORLD_SIZE', 1))
    return cfg.train_dataloader.batch_size * steps, processes


def _missing_gpu(target: Target, cfg: Config) -> Iterator[Missing]:
    pairs = cfg.model.get('cached_contrastive') or {}
    pairs = pairs.get('chunk', cfg.train_dataloader.batch_size)
    needed = MODEL_BYTES + pairs * PAIR_BYTES[target.backbone]
    if not torch.cuda.is_available():
        yield Missing(
            f'a GPU with about {needed / 1e9:.0f} GB (calculated)',
            'run it on a machine with one; --allow-cpu does without, in weeks',
        )
        return
    there = torch.cuda.get_device_properties(0).total_memory
    if there < needed:
        room = (there - MODEL_BYTES) / PAIR_BYTES[target.backbone]
        yield Missing(
            f'GPU memory: about {needed / 1e9:.0f} GB by calculation, there '
            f'are {there / 1e9:.0f}',
            '--cfg-options model.cached_contrastive.chunk='
            f'{max(1, int(room))}',
        )


def train_and_test(
    target: Target, cfg: Config, launcher: str = 'none'
) -> Comparison:
    """Train as ``tools/train.py`` does, test the last epoch, and compare.

    Args:
        target: The target.
        cfg: From :func:`load_recipe`; changed in place.
        launcher: See :func:`prepare_launch`.

    Raises:
        SetupError: What the run needs is not there.
    """
    prepare_launch(cfg, launcher)
    runner = build_runner(cfg)
    check_runner(runner, *STAGES)
    runner.train()
    results = runner.test()
    *_, (annotation, _) = _datasets(cfg)
    records = read_annotations(annotation)
    return compare(
        target,
        {level: results[f'retrieval/{level}'] for level in LEVELS},
        sum(len(record.captions) for record in records),
        len(records),
    )


def compare(
    target: Target, measured: Mapping[str, float], texts: int, videos: int
) -> Comparison:
    """Put what was measured beside what is cited.

    Args:
        target: The target.
        measured: ``R1``, ``R5``, ``R10`` in percent.
        texts: Number of test texts.
        videos: Number of test videos.
    """
    return Comparison(
        {key: (measured[key], value) for key, value in target.cited.items()},
        target.tolerance,
        describe_misfit(find_protocol(target.protocol), texts, videos),
    )
