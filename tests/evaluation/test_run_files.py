"""Runs and judgements of TREC, BEIR and mteb."""

import json
import math

import numpy as np
import pytest
import torch

from mmtvr.cli.evaluate import main
from mmtvr.errors import SetupError
from mmtvr.evaluation.report import Table, evaluate
from mmtvr.evaluation.run_files import evaluate_run, read_qrels, read_run

RUN = {
    'q1': {'d2': 0.9, 'd1': 0.5},
    'q2': {'d2': 0.8, 'd1': 0.5},
    'q3': {'d1': 0.1},
    'unjudged': {'d1': 0.4},
}
QRELS = {
    'q1': {'d1': 1, 'd2': 0},
    'q2': {'d2': 1, 'd3': 1},
    'q3': {'d9': 1},
    'hopeless': {'d1': 0},
}
SECOND = 1 / math.log2(3)


def test_values_by_hand():
    """q1 at place 2; q2 at 1, one of two missing; q3 missing.

    The document of q3 is one of three that the run does not name, behind the
    one that it names: on average at place 1 + 2.
    """
    found = evaluate_run(RUN, QRELS)
    assert (found.queries, found.items) == (3, 4)
    measures = found.measures
    assert measures['R1'] == pytest.approx(100 / 3)
    assert measures['R5'] == measures['R50'] == pytest.approx(200 / 3)
    assert measures['MnR'] == pytest.approx((2 + 1 + 3) / 3)
    assert measures['MdR'] == 2
    assert measures['mAP'] == pytest.approx(100 * (0.5 + 0.5) / 3)
    gain = SECOND + 1 / (1 + SECOND)
    assert measures['NDCG10'] == pytest.approx(100 * gain / 3)
    assert found.tie_share == 0
    # With more documents than are named only the mean rank changes.
    larger = evaluate_run(RUN, QRELS, items=10).measures
    assert larger.pop('MnR') == pytest.approx((2 + 1 + 1 + 5) / 3)
    assert larger['mAP'] == measures['mAP']
    with pytest.raises(SetupError, match='4 documents'):
        evaluate_run(RUN, QRELS, items=3)


def test_a_judged_query_without_documents_fails():
    found = evaluate_run({'a': {'x': 1.0}}, {'a': {'x': 1}, 'b': {'x': 1}})
    assert found.measures['R1'] == 50
    assert found.measures['mAP'] == 50
    with pytest.raises(SetupError, match='no query'):
        evaluate_run({'a': {'x': 1.0}}, {'a': {'x': 0}})


def test_ties_are_shared_out_and_shown_for_all_policies():
    found = evaluate_run({'q': {'d1': 1.0, 'd2': 1.0}}, {'q': {'d1': 1}})
    assert found.measures['R1'] == pytest.approx(50)
    assert found.measures['MnR'] == pytest.approx(1.5)
    assert found.tie_share == 1
    assert found.policies['optimistic']['R1'] == 100
    assert found.policies['pessimistic']['R1'] == 0


def draw(queries=40, documents=30, named=12):
    """A random run without ties, and one to three relevant documents each."""
    rng = np.random.default_rng(0)
    names = [f'd{number}' for number in range(documents)]
    run, qrels = {}, {}
    for number in range(queries):
        chosen = rng.choice(names, named, replace=False)
        scores = rng.permutation(named) / named
        run[f'q{number}'] = dict(zip(chosen, scores.tolist(), strict=True))
        right = rng.choice(names, rng.integers(1, 4), replace=False)
        qrels[f'q{number}'] = {str(name): 1 for name in right}
    return run, qrels


def test_values_are_those_of_trec_eval():
    pytrec_eval = pytest.importorskip(
        'pytrec_eval', reason="it comes with the extra 'mteb'"
    )
    run, qrels = draw()
    measures = {'success.1,5,10', 'map', 'ndcg_cut.10'}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, measures)
    wanted = evaluator.evaluate(run)
    found = evaluate_run(run, qrels).measures
    pairs = dict(R1='success_1', R5='success_5', R10='success_10')
    pairs |= dict(mAP='map', NDCG10='ndcg_cut_10')
    for ours, theirs in pairs.items():
        mean = np.mean([each[theirs] for each in wanted.values()])
        assert found[ours] == pytest.approx(100 * mean), ours


def test_a_whole_run_gives_what_its_scores_give():
    """Each query names every document, and has one relevant one."""
    scores = torch.rand(20, 7, generator=torch.Generator().manual_seed(0))
    owner = torch.arange(20) % 7
    wanted = evaluate(Table(scores, owner, torch.arange(7)), 't2v')
    run = {
        str(row): {str(i): float(s) for i, s in enumerate(scores[row])}
        for row in range(20)
    }
    qrels = {str(row): {str(int(owner[row])): 1} for row in range(20)}
    found = evaluate_run(run, qrels)
    assert found.measures == pytest.approx(wanted.measures)
    assert found.intervals['R1'] == pytest.approx(wanted.intervals['R1'])


def write_qrels(kind, folder):
    rows = [
        (query, name, value)
        for query, judged in QRELS.items()
        for name, value in judged.items()
    ]
    tsv = [
        'query-id\tcorpus-id\tscore',
        *('\t'.join(map(str, r)) for r in rows),
    ]
    names = ('query-id', 'corpus-id', 'score')
    match kind:
        case 'trec':
            path = folder / 'qrels.txt'
            path.write_text(''.join(f'{q} 0 {d} {v}\n' for q, d, v in rows))
        case 'tsv':
            path = folder / 'test.tsv'
            path.write_text('\n'.join(tsv))
        case 'jsonl':
            path = folder / 'qrels.jsonl'
            lines = [
                json.dumps(dict(zip(names, r, strict=True))) for r in rows
            ]
            path.write_text('\n'.join(lines))
        case 'json':
            path = folder / 'qrels.json'
            path.write_text(json.dumps(QRELS))
        case 'folder':
            path = folder
            (folder / 'qrels').mkdir()
            (folder / 'qrels/test.tsv').write_text('\n'.join(tsv))
            lines = [json.dumps(dict(_id=f'd{n}', text='')) for n in range(10)]
            (folder / 'corpus.jsonl').write_text('\n'.join(lines))
    return path


def write_run(kind, folder):
    if kind == 'trec':
        path = folder / 'system.run'
        path.write_text(
            ''.join(
                # Ranks that say something else than the scores.
                f'{query} Q0 {name} 1 {score} mine\n'
                for query, named in RUN.items()
                for name, score in named.items()
            )
        )
        return path
    path = folder / 'predictions.json'
    content = RUN
    if kind == 'mteb':
        about = dict(model_name='mine', revision='1')
        content = dict(mteb_model_meta=about, default=dict(test=RUN))
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize('kind', ['trec', 'tsv', 'jsonl', 'json', 'folder'])
def test_judgements_read_the_same_from_each_format(kind, tmp_path):
    assert read_qrels(write_qrels(kind, tmp_path)) == QRELS


@pytest.mark.parametrize('kind', ['trec', 'json', 'mteb'])
def test_a_run_reads_the_same_from_each_format(kind, tmp_path):
    assert read_run(write_run(kind, tmp_path)) == RUN


def test_the_command_reports_a_run(tmp_path, capsys):
    run = write_run('trec', tmp_path)
    qrels = write_qrels('folder', tmp_path)
    out = tmp_path / 'report'
    options = ['--qrels', str(qrels), '--out', str(out)]
    assert main([str(run), *options]) == 0
    text = capsys.readouterr().out
    assert '3 queries, 10 items' in text
    assert '1 judged ones are not in the run' in text
    report = json.loads((out / 'report.json').read_text())
    assert report['rows'][0]['v2t'] is None
    assert report['rows'][0]['t2v']['measures']['MnR'] == pytest.approx(3)
    assert main([str(run)]) == 1
    assert '--qrels' in capsys.readouterr().err
    assert main([str(run), *options, '--protocol', 'msrvtt/1k-A']) == 1
    assert '--protocol' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('a.run', 'q1 Q0 d1 1 0.5\n', 'line 1: 5 fields'),
        ('a.run', 'q Q0 d 1 nan x\n', "'nan' is no finite number"),
        ('a.run', 'q Q0 d 1 1 x\n\nq Q0 d 2 1 x\n', 'line 3: document'),
        ('a.run', '', 'is empty'),
        ('a.json', '[1]', 'expected a JSON object'),
        ('a.json', '{"q": 3}', "'q': expected"),
        ('a.json', '{"mteb_model_meta": {}, "x": {}}', 'of 0 splits'),
    ],
)
def test_what_is_no_run_is_said(name, text, said, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SetupError, match=said):
        read_run(path)


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('a.tsv', 'query-id\tcorpus-id\tscore\nq\td\n', 'line 2: expected'),
        ('a.jsonl', '{"query-id": "q"}', 'line 1: expected'),
        ('a.jsonl', '{', 'line 1: no JSON'),
        ('a.txt', 'q 0 d\n', 'line 1: expected'),
        ('a.txt', 'q 0 d yes\n', "'yes' is no finite number"),
    ],
)
def test_what_are_no_judgements_is_said(name, text, said, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SetupError, match=said):
        read_qrels(path)
    with pytest.raises(SetupError, match='there is no file'):
        read_qrels(tmp_path / 'none.tsv')
