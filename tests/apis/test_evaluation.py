import doctest
import json
import re

import numpy as np
import pytest
import torch

from mmtvr.apis import evaluation
from mmtvr.apis.evaluation import load_table
from mmtvr.cli.evaluate import main
from mmtvr.errors import SetupError


@pytest.fixture
def save(tmp_path):
    """Write arrays to a .npy or .npz file; returns its path."""

    def save(name, content=None, **arrays):
        path = tmp_path / name
        if content is None:
            np.savez(path, **arrays)
        else:
            np.save(path, content)
        return path

    return save


@pytest.fixture
def scores():
    return np.random.default_rng(0).random((6, 3)).astype(np.float32)


@pytest.fixture
def evaluate(capsys):
    """Function that runs the command; returns what it printed."""

    def evaluate(*arguments):
        assert main([str(each) for each in arguments]) == 0
        return capsys.readouterr().out.removesuffix('\n')

    return evaluate


@pytest.fixture
def refuse(capsys):
    """Function that runs a command that fails; returns its message."""

    def refuse(*arguments):
        assert main([str(each) for each in arguments]) == 1
        return capsys.readouterr().err

    return refuse


def test_examples_of_the_docstrings_run(tmp_path):
    names = dict(scores=tmp_path / 'scores.npy')
    failed, tried = doctest.testmod(evaluation, extraglobs=names)
    assert failed == 0
    assert tried >= 4


def test_square_matrix_is_matched_by_its_diagonal(save, evaluate):
    text = evaluate(save('sims.npy', np.eye(4)))
    assert text.count('100.00') >= 8


def test_match_gives_the_column_of_each_text(save, scores):
    column = np.array([2, 0, 1, 1, 0, 2])
    table = load_table(save('sims.npy', scores), save('match.npy', column))
    assert table.text_video_ids.tolist() == column.tolist()
    onehot = column[:, None] == np.arange(3)
    again = load_table(save('sims.npy', scores), save('mask.npy', onehot))
    assert torch.equal(table.text_video_ids, again.text_video_ids)


def test_dumped_scores_bring_their_ids(save, scores, evaluate):
    owner, ids = np.array([7, 5, 5, 9, 9, 7]), np.array([5, 7, 9])
    path = save('dump.npz', scores=scores, text_video_ids=owner, video_ids=ids)
    table = load_table(path)
    assert table.text_video_ids.tolist() == owner.tolist()
    assert table.video_ids.tolist() == ids.tolist()
    assert '6 queries, 3 items' in evaluate(path)


def test_embeddings_are_compared_by_cosine(save):
    text = np.array([[3.0, 0.0], [0.0, 0.2]])
    video = np.array([[0.5, 0.5], [0.0, 9.0]])
    table = load_table(save('features.npz', text=text, video=video))
    torch.testing.assert_close(
        table.scores, torch.tensor([[0.5**0.5, 0.0], [0.5**0.5, 1.0]])
    )


def test_report_is_written_as_text_json_and_plot(save, evaluate, tmp_path):
    sims = np.eye(5) + np.random.default_rng(1).random((5, 5))
    out = tmp_path / 'out'
    text = evaluate(
        *(save('sims.npy', sims), '--out', out, '--protocol', 'msrvtt/1k-A'),
        *('--rescore', 'dual-softmax:0.1', '--about', 'decoder=decord'),
    )
    assert (out / 'report.txt').read_text() == text
    report = json.loads((out / 'report.json').read_text())
    assert [row['label'] for row in report['rows']] == [
        *('raw', 'dual-softmax, temperature 0.1')
    ]
    assert report['about']['decoder'] == 'decord'
    assert 'no result under this protocol' in report['about']['warning']
    assert '99.5 %' in text
    assert (out / 'report.png').read_bytes().startswith(b'\x89PNG')


def test_query_bank_rescores_one_direction(save, evaluate):
    sims = np.random.default_rng(2).random((8, 8))
    bank = np.random.default_rng(3).random((20, 8))
    text = evaluate(
        *(save('sims.npy', sims), '--rescore', 'qb-norm:0.05'),
        *('--bank', save('bank.npy', bank)),
    )
    raw, normed = text.split('qb-norm')
    assert '(t2v only)' in normed
    back = [
        part.split('video to text')[1].split('\n')[0] for part in (raw, normed)
    ]
    assert back[0].split()[:6] == back[1].split()[:6]


@pytest.mark.parametrize(
    ('arguments', 'finding'),
    [
        (['--protocol', 'msrvtt'], 'no protocol'),
        (['--rescore', 'dsl:0.1'], 'dual-softmax'),
        (['--rescore', 'sinkhorn'], 'positive temperature'),
        (['--rescore', 'sinkhorn:-1'], 'positive temperature'),
        (['--rescore', 'qb-norm:0.1'], '--bank'),
        (['--match', 'nowhere.npy'], 'nowhere.npy'),
    ],
)
def test_wrong_options_are_one_message(save, arguments, finding, refuse):
    assert finding in refuse(save('sims.npy', np.eye(3)), *arguments)


def test_files_of_another_kind_are_named(save, scores, tmp_path, refuse):
    text = tmp_path / 'text.npy'
    text.write_text('no array')
    cases = {
        'cannot be read': text,
        'expected': save('other.npz', features=scores),
        'does not say which belong together': save('sims.npy', scores),
        'int64, expected floating': save('ints.npy', np.eye(3, dtype=int)),
        r'\(texts, videos\)': save('flat.npy', np.ones(3)),
        r'expected \(texts, D\)': save(
            'misfit.npz', text=np.ones((2, 3)), video=np.ones((2, 4))
        ),
        '2 and 3 ids': save(
            'ids.npz', scores=scores, text_video_ids=np.arange(2)
        ),
        'row 1, column 0 is nan': save(
            'nan.npy', np.array([[1.0, 0.0], [np.nan, 1.0]])
        ),
    }
    for finding, path in cases.items():
        assert re.search(finding, refuse(path))


def test_matches_that_do_not_fit_are_named(save, scores):
    sims = save('sims.npy', scores)
    cases = {
        'columns 0 to 3': np.array([0, 1, 2, 3, 0, 1]),
        '6 column numbers': np.arange(3),
        'row 2 has 0 videos': np.arange(6)[:, None] % 3 == np.array([0, 1, 7]),
    }
    for finding, match in cases.items():
        with pytest.raises(SetupError, match=finding):
            load_table(sims, save('match.npy', match))


def test_pickles_are_not_loaded(tmp_path):
    path = tmp_path / 'objects.npy'
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SetupError, match='cannot be read'):
        load_table(path)


@pytest.fixture
def twins(tmp_path):
    path = tmp_path / 'set.json'
    record = dict(kind='colour', text=0, twin=1, video=0, twin_video=1)
    content = dict(texts=['a', 'b'], videos=['0', '1'], twins=[record])
    path.write_text(json.dumps(content))
    return path


def test_fine_grained_rows_and_columns_are_found_by_name(
    save, twins, evaluate, tmp_path
):
    plain = save('plain.npy', np.array([[0.9, 0.1], [0.2, 0.8]]))
    named = save(
        'named.npz',
        scores=np.array([[0.0, 0.0, 0.0], [0.8, 0.5, 0.2], [0.1, 0.5, 0.9]]),
        texts=np.array(['other', 'b', 'a']),
        text_video_ids=np.array([5, 1, 0]),
        video_ids=np.array([1, 5, 0]),
    )
    first = evaluate(plain, '--fine-grained', twins)
    out = tmp_path / 'report'
    assert evaluate(named, '--fine-grained', twins, '--out', out) == first
    assert 'group score' in first
    assert '100.0' in first
    rows = json.loads((out / 'fine_grained.json').read_text())['rows']
    assert {row['value'] for row in rows} == {100.0}


def test_fine_grained_scores_that_do_not_fit_are_refused(save, twins, refuse):
    wide = save('wide.npy', np.zeros((2, 3)))
    assert '(2, 2)' in refuse(wide, '--fine-grained', twins)
    ids = dict(text_video_ids=np.array([0]), video_ids=np.arange(2))
    few = save(
        'few.npz', scores=np.zeros((1, 2)), texts=np.array(['a']), **ids
    )
    assert "'b'" in refuse(few, '--fine-grained', twins)
    ok = save('ok.npy', np.zeros((2, 2)))
    message = refuse(ok, '--fine-grained', twins, '--rescore', 'sinkhorn:1')
    assert '--rescore' in message
