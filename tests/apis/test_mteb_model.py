"""The retriever in a task of mteb that is made here, without a network."""

from importlib.util import find_spec

import numpy as np
import pytest

from mmtvr.apis import Retriever
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.errors import SetupError
from mmtvr.evaluation.ranking import ndcg

# Importing it takes seconds, in each process that collects this file.
pytestmark = pytest.mark.skipif(
    find_spec('mteb') is None, reason="needs the extra 'mteb'"
)

CAPTIONS = (
    *('a red circle rising', 'a blue star', 'a green square falling'),
    *('a circle', 'a yellow star moving left'),
)


def make_task(category, queries, corpus):
    """Query i belongs to document i."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    class ShapesTask(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=f'Shapes{category}',
            description='Five videos of moving shapes.',
            dataset=dict(path='none/none', revision='none'),
            type='Any2AnyRetrieval',
            eval_langs=['eng-Latn'],
            eval_splits=['test'],
            main_score='ndcg_at_10',
            reference=None,
            category=category,
            modalities=['text', 'video'],
            date=('2026-01-01', '2026-01-02'),
            domains=[],
            task_subtypes=[],
            license='mit',
            annotations_creators='derived',
            dialect=[],
            sample_creation='created',
            bibtex_citation='',
        )

        def load_data(self, **_):
            qrels = {f'q{i}': {f'd{i}': 1} for i in range(5)}
            split = dict(
                queries=queries.add_column('id', [f'q{i}' for i in range(5)]),
                corpus=corpus.add_column('id', [f'd{i}' for i in range(5)]),
                relevant_docs=qrels,
                top_ranked=None,
            )
            self.dataset = {'default': {'test': split}}
            self.data_loaded = True

    return ShapesTask()


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    folder = ensure_moving_shapes(root, 'test', 5, 0)
    return [str(path) for path in sorted((folder / 'videos').glob('*.mp4'))]


@pytest.fixture(scope='module')
def model():
    from mmtvr.apis.mteb_model import MTEBRetriever

    config = 'configs/clip4clip_moving_shapes.py'
    return MTEBRetriever(Retriever.from_config(config, device='cpu'))


@pytest.mark.parametrize('category', ['t2v', 'v2t'])
def test_a_task_scores_as_our_own_ranking(model, videos, category):
    import mteb
    from datasets import Dataset, Video
    from mteb.models.models_protocols import SearchProtocol

    assert isinstance(model, SearchProtocol)
    sides = [
        Dataset.from_dict(dict(text=CAPTIONS)),
        Dataset.from_dict(dict(video=videos)).cast_column('video', Video()),
    ]
    task = make_task(category, *(sides if category == 't2v' else sides[::-1]))
    found = mteb.evaluate(model, task, cache=None, show_progress_bar=False)
    (scores,) = found[0].scores['test']

    sim = model.retriever.similarity(CAPTIONS, videos)
    sim = sim if category == 't2v' else sim.T
    match = np.eye(5, dtype=bool)
    rank = (sim >= sim.diag()[:, None]).sum(1)
    assert 1 < rank.float().mean() < 5
    wanted = ndcg(sim, sim.new_tensor(match).bool()).mean().item()
    assert scores['ndcg_at_10'] == pytest.approx(wanted, abs=1e-5)
    hits = (rank == 1).float().mean().item()
    assert scores['recall_at_1'] == pytest.approx(hits, abs=1e-5)


def test_videos_within_the_table_and_chosen_ones(model, videos):
    from datasets import Dataset

    with open(videos[1], 'rb') as file:
        inside = dict(bytes=file.read(), path='clip.mp4')
    rows = [dict(path=videos[0], bytes=None), inside]
    corpus = Dataset.from_dict(dict(id=['a', 'b'], video=rows))
    queries = Dataset.from_dict(dict(id=['q'], text=CAPTIONS[:1]))
    model.index(corpus, encode_kwargs=dict(batch_size=1))
    options = dict(top_k=5, encode_kwargs={})
    found = model.search(queries, top_ranked=dict(q=['b']), **options)
    wanted = model.retriever.similarity(CAPTIONS[:1], videos[1:2]).item()
    assert found == {'q': {'b': pytest.approx(wanted)}}


def test_what_the_model_does_not_compare_is_refused(model):
    from datasets import Dataset

    texts = Dataset.from_dict(dict(id=['a'], text=['a star'], title=['one']))
    model.index(texts, encode_kwargs={})
    with pytest.raises(SetupError, match='both texts'):
        model.search(texts, top_k=1, encode_kwargs={})
    with pytest.raises(SetupError, match='audio'):
        model.index(
            Dataset.from_dict(dict(id=['a'], audio=['x'])), encode_kwargs={}
        )
