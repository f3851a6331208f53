"""What a config needs: annotation files, videos, weights, taggers, space."""

import os
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from mmengine.config import Config
from transformers import AutoConfig

from mmtvr.checkpoints import fit_weights, read_checkpoint
from mmtvr.config import load_config, walk
from mmtvr.config.check import read_by_runner
from mmtvr.datasets import MovingShapesDataset, TextVideoDataset
from mmtvr.datasets.annotations import read_annotations
from mmtvr.doctor.findings import Finding, Severity
from mmtvr.doctor.machine import GIBIBYTE, check_disk_space
from mmtvr.errors import SetupError
from mmtvr.pretrained import (
    OPEN_CLIP,
    PACKAGE,
    load_pretrained,
    load_tokenizer,
    read_open_clip_config,
    resolve_pretrained,
)
from mmtvr.registry import DATASETS, MODELS, TRANSFORMS
from mmtvr.video import AutoReader, UnreadableVideoError

STAGES = ('train', 'val', 'test')
# A checkpoint of CLIP ViT-B/32 with the optimizer's state has 1.7 GB, and
# recipes keep three and the best.
MIN_WORK = 8 * GIBIBYTE
WEIGHTS = (
    *('model.safetensors', 'model.safetensors.index.json'),
    *('pytorch_model.bin', 'pytorch_model.bin.index.json'),
)


def check_data(path: str) -> list[Finding]:
    """Check a config, its work folder, its annotation files and videos."""
    try:
        cfg = load_config(path)
    except SetupError as error:
        return [_finding('file', 'error', str(error))]
    work = Path(cfg.work_dir)
    findings = [
        _finding('file', 'ok', f'{path} can be read'),
        check_disk_space('config', 'work folder', work, MIN_WORK),
    ]
    seen = set()
    for stage in STAGES:
        loader = cfg.get(f'{stage}_dataloader') or {}
        for _, node in walk(loader.get('dataset')):
            kind = DATASETS.get(str(node.get('type')))
            if isinstance(kind, type) and issubclass(kind, TextVideoDataset):
                if issubclass(kind, MovingShapesDataset):
                    root = node.get('data_root') or 'data/moving_shapes'
                    text = f'drawn into {root} on first use'
                    found = _finding(f'{stage} data', 'ok', text)
                else:
                    found = _check_dataset(path, stage, node)
                if found.text not in seen:
                    seen.add(found.text)
                    findings.append(found)
    return findings


def _finding(
    subject: str, severity: Severity, text: str, fix: str = ''
) -> Finding:
    return Finding('config', subject, severity, text, fix)


def _check_dataset(config: str, stage: str, node: dict) -> Finding:
    """Let a data set check its files, without its pipeline, and decode one."""
    subject = f'{stage} data'
    fix = f'python tools/data/verify.py {config} lists all faults'
    changes = dict(pipeline=[], test_mode=False, serialize_data=False)
    try:
        dataset = DATASETS.build({**node, **changes})
    except SetupError as error:
        place = f'{stage}_dataloader.dataset.data_root and ann_file'
        fix += f'; tools/data/README.md describes them; {place} name them'
        return _finding(subject, 'error', str(error), fix)
    samples = dataset.data_list
    captions = sum(
        1 if isinstance(sample['text'], str) else len(sample['text'])
        for sample in samples
    )
    videos = len({sample['video_id'] for sample in samples})
    text = f'{videos:,} videos, {captions:,} captions in {dataset.ann_file}'
    if dataset.metainfo.get('left_out'):
        text += f'; left out: {dataset.metainfo["left_out"]}'
        return _finding(subject, 'warning', text, fix)
    try:
        with AutoReader(samples[0]['filename']) as reader:
            reader.get_frames([0])
    except UnreadableVideoError as error:
        return _finding(subject, 'warning', f'{text}; {error}', fix)
    return _finding(subject, 'ok', f'{text}; the first video decodes')


def check_weights(path: str) -> list[Finding]:
    """Check each tokenizer, pretrained model and checkpoint of a config.

    A config that cannot be read is reported by :func:`check_data` alone.
    """
    cfg = _load(path)
    named: dict[tuple[str, str], None] = {}
    for _, node in walk(read_by_runner(cfg)):
        for key in ('clip', 'encoder', 'tokenizer'):
            if 'type' in node and isinstance(node.get(key), str):
                named[key, node[key]] = None
    check = dict(
        clip=_check_model, encoder=_check_model, tokenizer=_check_tokenizer
    )
    findings = [check[key](name) for key, name in named]
    if cfg.get('load_from'):
        findings.append(_check_checkpoint(cfg.load_from, cfg.model))
    return findings


def check_captions(path: str) -> list[Finding]:
    """Check that the tokenizers of a config know the words of its captions."""
    findings = {}
    for stage in STAGES:
        loader = _load(path).get(f'{stage}_dataloader') or {}
        for _, node in walk(loader.get('dataset')):
            steps = [
                step
                for step in node.get('pipeline') or ()
                if str(step.get('type')).rpartition('.')[2] == 'TokenizeText'
            ]
            file = Path(
                str(node.get('data_root') or ''), str(node.get('ann_file'))
            )
            if steps and file.is_file():
                try:
                    captions = [
                        text
                        for record in read_annotations(file)
                        for text in record.captions
                    ]
                    tokenize = TRANSFORMS.build(steps[0])
                except SetupError:
                    # check_data and check_weights say what is wrong.
                    continue
                text = tokenize.describe_captions(captions)
                severity = 'warning' if text else 'ok'
                text = f'{file}: {text or "the tokenizer knows all words"}'
                findings[text] = _finding('captions', severity, text)
    return list(findings.values())


def check_keywords(path: str) -> list[Finding]:
    """Check that the taggers of key words of a config are installed."""
    steps = {
        repr(node): node
        for _, node in walk(read_by_runner(_load(path)))
        if str(node.get('type', '')).rpartition('.')[2] == 'TagKeyWords'
    }
    return [
        _try('key words', lambda step=step: repr(TRANSFORMS.build(step)))
        for step in steps.values()
    ]


def _load(path: str) -> Config:
    try:
        return load_config(path)
    except SetupError:
        return Config()


def _try(subject: str, describe: Callable[[], str]) -> Finding:
    try:
        return _finding(subject, 'ok', describe())
    except SetupError as error:
        return _finding(subject, 'error', str(error))


def _check_tokenizer(name: str) -> Finding:
    return _try(
        'tokenizer',
        lambda: f'{name}: {len(load_tokenizer(name)):,} word pieces',
    )


def _read_width(name: str) -> int:
    return read_open_clip_config(name)['model_cfg']['embed_dim']


def _check_model(name: str) -> Finding:
    if name.startswith(OPEN_CLIP):
        return _try('weights', lambda: f'{name}: {_read_width(name)} wide')
    if name.startswith(PACKAGE):
        return _try('weights', lambda: f'{name}: {resolve_pretrained(name)}')
    found = _try(
        'weights', lambda: load_pretrained(AutoConfig, name).model_type
    )
    if found.severity != 'ok':
        return found
    location = resolve_pretrained(name)
    if Path(location).is_dir():
        files = [str(Path(location, file)) for file in WEIGHTS]
        place = next(filter(os.path.isfile, files), None)
    else:
        files = [try_to_load_from_cache(location, file) for file in WEIGHTS]
        place = next((file for file in files if isinstance(file, str)), None)
    if place is not None:
        return _finding('weights', 'ok', f'{name}: {found.text} in {place}')
    if Path(location).is_dir():
        text = f'{name} holds none of {", ".join(WEIGHTS)}'
        return _finding('weights', 'error', text)
    text = f'{name} is not in {constants.HF_HUB_CACHE} yet'
    fix = f'training fetches it; or now: hf download {name}'
    return _finding('weights', 'warning', text, fix)


def _check_checkpoint(path: str, model: dict) -> Finding:
    if '://' in path:
        text = f'{path}: a URL, fetched when it is needed'
        return _finding('checkpoint', 'ok', text)
    try:
        found = read_checkpoint(path)['state_dict']
    except SetupError as error:
        return _finding('checkpoint', 'error', str(error))
    try:
        fit = fit_weights(found, MODELS.build(model).state_dict())
    except SetupError:
        # What the model lacks is another finding.
        text = f'{path}: {len(found):,} tensors'
        return _finding('checkpoint', 'ok', text)
    severity: Severity = 'warning' if fit.missing else 'ok'
    if not fit.weights or not fit.has_encoder:
        severity = 'error'
    return _finding('checkpoint', severity, fit.describe(path))
