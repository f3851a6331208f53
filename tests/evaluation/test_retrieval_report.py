import json

import pytest
import torch

from mmtvr.evaluation.ranking import both_directions
from mmtvr.registry import DATASETS, METRICS


@pytest.fixture
def rows():
    """Rows of scores as the test loop feeds them."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(9, 4, generator=generator)
    owner, ids = torch.arange(9) % 4, torch.arange(4)
    samples = [
        dict(scores=row, text_video_id=int(i), video_ids=ids)
        for row, i in zip(scores, owner, strict=True)
    ]
    return samples, (scores, owner, ids)


def build(**options):
    return METRICS.build(dict(type='mmtvr.RetrievalReport', **options))


def test_report_agrees_with_the_recall_metric(rows, tmp_path):
    samples, table = rows
    metric = build(
        out_dir=str(tmp_path / 'out'),
        protocol='msrvtt/1k-A',
        about=dict(decoder='decord'),
        rescore=['sinkhorn:0.1'],
    )
    metric.process(None, samples[:5])
    metric.process(None, samples[5:])
    found = metric.evaluate(size=9)
    want = both_directions(*table)
    assert found['report/RSum'] == pytest.approx(
        sum(want[f'{d}R{k}'] for d in ('', 'v2t_') for k in (1, 5, 10))
    )
    report = json.loads((tmp_path / 'out/report.json').read_text())
    assert report['rows'][0]['t2v']['measures']['R1'] == want['R1']
    assert report['rows'][1]['needs_all_queries']
    assert 'ceiling' in report['about']
    assert 'this table has 9 and 4' in report['about']['warning']
    text = (tmp_path / 'out/report.txt').read_text()
    assert 'decoder' in text
    assert (tmp_path / 'out/report.png').is_file()


def test_without_a_folder_nothing_is_written(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = build()
    metric.process(None, rows[0])
    metric.evaluate(size=9)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('options', 'finding'),
    [
        (dict(ties='lucky'), 'lucky'),
        (dict(protocol='msrvtt'), 'no protocol'),
        (dict(rescore=['dsl:1']), 'NAME:TEMPERATURE'),
        (dict(rescore=['qb-norm:0.1']), 'query bank'),
    ],
)
def test_wrong_options_are_refused_at_once(options, finding):
    with pytest.raises(ValueError, match=finding):
        build(**options)


def test_what_the_dataset_left_out_is_told(rows, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(
        'mmtvr.evaluation.metrics.print_log',
        lambda text, logger: logged.append(text),
    )
    recall = METRICS.build(dict(type='mmtvr.TextVideoRecall'))
    report = build(out_dir=str(tmp_path))
    for metric in (recall, report):
        metric.dataset_meta = dict(left_out='3 of 7 videos')
        metric.process(None, rows[0])
        metric.evaluate(size=9)
    assert 'left out: 3 of 7 videos' in logged[0]
    text = (tmp_path / 'report.txt').read_text()
    assert text.startswith('left out  3 of 7 videos\n')


def test_facts_come_from_the_pipeline_that_ran(rows, tiny_videos, tmp_path):
    load = dict(type='mmtvr.LoadVideoFrames', num_frames=2, test_mode=True)
    dataset = DATASETS.build(
        dict(
            type='mmtvr.TextVideoDataset',
            ann_file='test_JSFUSION.json',
            data_root=str(tiny_videos),
            pipeline=[dict(load, reader='pyav')],
            test_mode=True,
        )
    )
    metric = build(out_dir=str(tmp_path), about=dict(note='a trial'))
    metric.dataset_meta = dataset.metainfo
    metric.process(None, rows[0])
    metric.evaluate(size=9)
    about = json.loads((tmp_path / 'report.json').read_text())['about']
    assert about == dict(
        decoder='pyav',
        frames='2 per video, the middle of equal segments',
        data=f'{tiny_videos.name}/test_JSFUSION: 9 captions of 5 videos, '
        'each caption a query, video to text any of them',
        ceiling='100 % t2v R@1: no two videos share a caption',
        note='a trial',
    )
