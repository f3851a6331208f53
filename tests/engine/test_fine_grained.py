"""Fine-grained captions through the test loop of a real model."""

import json

import pytest
import torch
from torch import distributed as dist

from mmtvr.config import load_config
from mmtvr.config.preflight import build_runner
from mmtvr.engine.fine_grained import load_fine_grained
from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import (
    evaluate_fine_grained,
    metrics_of,
    read_fine_grained,
)


@pytest.fixture
def runner_of(tiny_config, tmp_path):
    def build(name='run', **test_cfg):
        options = {f'test_cfg.{key}': value for key, value in test_cfg.items()}
        cfg = load_config(str(tiny_config), options, str(tmp_path / name))
        cfg.log_level = 'WARNING'
        cfg.experiment_name = f'{tmp_path.name}_{name}'
        cfg.randomness = dict(seed=0)
        if dist.is_initialized():
            cfg.launcher = 'pytorch'
            cfg.model_wrapper_cfg = dict(
                type='MMDistributedDataParallel', device_ids=None
            )
        return build_runner(cfg)

    return build


@pytest.fixture
def captions(runner_of, tmp_path):
    """A set over the videos of the tiny test set; returns its file."""
    dataset = runner_of('names').test_loop.dataloader.dataset
    names = [
        dataset.get_data_info(i)['filename'].split('/')[-1]
        for i in range(len(dataset))
    ]
    texts = ['a red dog runs', 'a young dog runs', 'a dog runs', 'a man']
    content = dict(
        texts=texts,
        videos=names,
        partial=[
            dict(kind='x', text=0, partial=2, video=0),
            dict(kind='x', text=3, partial=2, video=1),
        ],
        twins=[dict(kind='y', text=0, twin=1, video=0, twin_video=1)],
    )
    path = tmp_path / 'set.json'
    path.write_text(json.dumps(content))
    return path


def test_loop_reports_what_the_scores_give(runner_of, captions):
    runner = runner_of(fine_grained=str(captions))
    metrics = runner.test()
    found = {
        name.removeprefix('fine_grained/'): value
        for name, value in metrics.items()
        if name.startswith('fine_grained/')
    }
    model, dataset = runner.model, runner.test_loop.dataloader.dataset
    known = read_fine_grained(captions)
    text_steps = dataset.pipeline.transforms[-2:]
    sample = dict(text=known.texts)
    for step in text_steps:
        sample = step(sample)
    with torch.no_grad():
        text = model.extract_text(sample['inputs'])
        videos = [
            model.extract_video(
                {
                    key: dataset[i]['inputs'][key][None]
                    for key in ('frames', 'frame_mask')
                }
            )
            for i in range(len(dataset))
        ]
        scores = torch.cat([model.similarity(text, v) for v in videos], 1)
    report = evaluate_fine_grained(known, scores)
    assert found == pytest.approx(metrics_of(report))
    written = json.loads(
        next(captions.parent.rglob('fine_grained.json')).read_text()
    )
    assert [row['value'] for row in written['rows']] == pytest.approx(
        [row.value for row in report.rows]
    )
    assert 'retrieval/R1' in metrics


@pytest.mark.slow
def test_processes_report_the_numbers_of_one(
    runner_of, captions, in_processes
):
    def work():
        name = f'ranks{dist.is_initialized()}'
        return runner_of(name, fine_grained=str(captions)).test()

    results = in_processes(2, work)
    assert results == [work()] * 2


def test_sets_of_another_annotation_file_are_refused(runner_of, captions):
    dataset = runner_of('other').test_loop.dataloader.dataset
    content = json.loads(captions.read_text())
    content['videos'][1] = 'other.mp4'
    captions.write_text(json.dumps(content))
    with pytest.raises(SetupError, match=r'video 1 is other\.mp4'):
        load_fine_grained(str(captions), dataset)
    with pytest.raises(SetupError, match='makes no fine-grained captions'):
        load_fine_grained('dataset', object())


def test_dataset_makes_captions_of_its_annotations(runner_of):
    dataset = runner_of('made').test_loop.dataloader.dataset
    found = load_fine_grained('dataset', dataset)
    assert len(found.videos) == len(dataset)
