import logging

import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from mmtvr.evaluation import SimilarityDump, TextVideoRecall
from mmtvr.evaluation.metrics import one_line


def rows(scores, text_ids, video_ids):
    return [
        dict(scores=row, text_video_id=i, video_ids=torch.tensor(video_ids))
        for row, i in zip(torch.tensor(scores), text_ids, strict=True)
    ]


def feature_samples(texts, videos, ids=None):
    samples = []
    for index, (text, video) in enumerate(zip(texts, videos, strict=True)):
        sample = ActionDataSample()
        sample.features = InstanceData(
            video_feature=torch.tensor(video), text_feature=torch.tensor(text)
        )
        if ids:
            sample.set_metainfo(dict(video_id=ids[index]))
        samples.append(sample)
    return samples


def test_rows_of_scores_give_both_directions():
    metric = TextVideoRecall(topk=(1, 2))
    scores = [[0.9, 0.1], [0.2, 0.3], [0.8, 0.7]]
    batch = rows(scores, [7, 8, 8], [7, 8])
    metric.process(None, batch[:2])
    metric.process(None, batch[2:])
    assert metric.evaluate(size=3) == {
        'retrieval/R1': pytest.approx(200 / 3),
        'retrieval/R2': 100.0,
        'retrieval/MdR': 1.0,
        'retrieval/MnR': pytest.approx(4 / 3),
        'retrieval/v2t_R1': 100.0,
        'retrieval/v2t_R2': 100.0,
        'retrieval/v2t_MdR': 1.0,
        'retrieval/v2t_MnR': 1.0,
    }


def test_a_second_evaluation_starts_empty():
    metric = TextVideoRecall()
    for scores in ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]):
        metric.process(None, rows(scores, [0, 1], [0, 1]))
        last = metric.evaluate(size=2)
    assert last['retrieval/R1'] == 0


def test_values_are_plain_floats():
    metric = TextVideoRecall()
    metric.process(None, rows([[1.0]], [0], [0]))
    assert {type(v) for v in metric.evaluate(1).values()} == {float}


def test_features_of_mmaction2_are_compared_by_cosine():
    texts = [[9.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    videos = [[0.1, 0.0], [0.0, 5.0], [1.0, 0.0]]
    evaluator = Evaluator(dict(type='mmtvr.TextVideoRecall', topk=(1,)))
    evaluator.process(feature_samples(texts, videos))
    got = evaluator.evaluate(3)
    # Videos 0 and 2 point the same way: text 0 is right with chance 1/2, and
    # text 2 is as near to video 1 as to them: chance 1/3.
    assert got['retrieval/R1'] == pytest.approx(100 * (0.5 + 1 + 1 / 3) / 3)
    assert 'retrieval/v2t_R1' in got


def test_samples_with_the_same_video_id_share_a_column():
    texts = [[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]
    videos = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    evaluator = Evaluator(dict(type='mmtvr.TextVideoRecall'))
    evaluator.process(feature_samples(texts, videos, ids=[5, 5, 3]))
    got = evaluator.evaluate(3)
    assert got['retrieval/R1'] == got['retrieval/v2t_R1'] == 100


def test_padding_of_the_sampler_is_cut_off():
    metric = TextVideoRecall()
    batch = rows([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], [0, 1, 0], [0, 1])
    metric.process(None, batch)
    assert metric.evaluate(size=2)['retrieval/R1'] == 100


def test_two_metrics_coexist_by_prefix():
    evaluator = Evaluator(
        [
            dict(type='mmtvr.TextVideoRecall'),
            dict(
                type='mmtvr.TextVideoRecall',
                prefix='strict',
                ties='pessimistic',
            ),
        ]
    )
    evaluator.process(rows([[0.5, 0.5], [0.1, 0.2]], [0, 1], [0, 1]))
    got = evaluator.evaluate(2)
    assert got['retrieval/R1'] == 75
    assert got['strict/R1'] == 50


def test_each_direction_has_one_line_in_the_log():
    report = {'R1': 48.0, 'MdR': 2.0, 'v2t_R1': 46.0, 'v2t_MdR': 2.0}
    assert one_line(report) == 't2v  R@1 48.00  MdR 2.00'
    assert one_line(report, 'v2t_') == 'v2t  R@1 46.00  MdR 2.00'
    logger = MMLogger.get_instance('one_line', logger_name='one_line')
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    metric = TextVideoRecall()
    metric.process(None, rows([[1.0, 0.0], [0.0, 1.0]], [0, 1], [0, 1]))
    metric.evaluate(2)
    assert [line[:3] for line in lines] == ['t2v', 'v2t']
    assert '(2 texts, 2 videos)' in lines[0]


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match='nothing to evaluate'):
        TextVideoRecall().evaluate(size=4)


def test_samples_of_another_kind_name_the_loop():
    with pytest.raises(ValueError, match='RetrievalValLoop'):
        TextVideoRecall().process(None, [dict(pred_score=1)])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(ties='lucky'), 'lucky'),
        (dict(topk=(0, 1)), 'from 1'),
        (dict(metric_list='R0'), 'R0'),
        (dict(metric_list=()), 'metric_list'),
        (dict(metric_list=('R1', 'mAP')), 'mAP'),
        (dict(metric_list='R1', topk=(1,)), 'not both'),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TextVideoRecall(**options)


def test_a_dump_is_an_npz():
    with pytest.raises(ValueError, match=r'\.npz'):
        SimilarityDump('scores.pkl')


def test_it_takes_the_arguments_of_mmaction2():
    metric = TextVideoRecall(metric_list=('MdR', 'R3'), collect_device='cpu')
    scores = torch.tensor([[0.9, 0.1], [0.2, 0.7]])
    metric.process(
        None,
        [
            dict(scores=row, text_video_id=i, video_ids=torch.arange(2))
            for i, row in enumerate(scores)
        ],
    )
    assert metric.evaluate(size=2) == {
        'retrieval/MdR': 1.0,
        'retrieval/R3': 100.0,
        'retrieval/v2t_MdR': 1.0,
        'retrieval/v2t_R3': 100.0,
    }
