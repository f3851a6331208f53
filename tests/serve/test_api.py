import asyncio
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from mmtvr.apis.client import SearchClient
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.errors import SetupError
from mmtvr.serve.app import create_app
from mmtvr.serve.library import Library
from mmtvr.serve.pages import Answers
from mmtvr.serve.requests import BoundedExecutor, BusyError

QUERY = 'a red circle rising'


def test_search_gives_what_the_model_finds(client, searcher):
    answer = client.get('/api/search', params=dict(q=QUERY, k=3)).json()
    assert answer['query'] == QUERY
    expected = searcher.search(QUERY, top_k=3, moments=True)
    assert [r['score'] for r in answer['results']] == [
        result.score for result in expected
    ]
    best = answer['results'][0]
    assert best['rank'] == 1
    assert best['time'] == expected[0].time
    assert best['moments'] == [vars(moment) for moment in expected[0].moments]
    assert [word['word'] for word in best['words']] == [
        *('red', 'circle', 'rising')
    ]
    assert '/' not in best['name']
    for address in ('video', 'poster', 'preview'):
        assert client.head(best[address]).status_code == 200


def test_similar_and_explain_answer_in_json(client, key_of):
    key = key_of('plain.mp4')
    similar = client.get(f'/api/similar/{key}?k=2').json()
    assert [hit['rank'] for hit in similar['results']] == [1, 2]
    why = client.get(f'/api/explain/{key}', params=dict(q=QUERY)).json()
    assert why['explanation']['words'][1] == 'a'
    assert len(why['times']) == len(why['explanation']['sentence']) == 8


def test_health_tells_how_many_videos_there_are(client):
    assert client.get('/health').json() == dict(status='ok', videos=6)


@pytest.mark.parametrize(
    ('address', 'status'),
    [
        ('/api/search', 400),
        (f'/api/search?q={"x" * 1001}', 400),
        ('/api/explain/unknown?q=dog', 404),
        ('/api/nothing', 404),
    ],
)
def test_errors_are_json_too(client, address, status):
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.json()['error']


def test_other_methods_are_refused(client):
    assert client.post('/api/search?q=dog').status_code == 405


def test_only_so_many_wait():
    executor = BoundedExecutor('test', 1, 1)
    go, running = threading.Event(), []

    def work():
        running.append(threading.current_thread().name)
        assert go.wait(10)
        return 'done'

    async def ask():
        first = [asyncio.ensure_future(executor.run(work)) for _ in range(2)]
        await asyncio.sleep(0.05)
        with pytest.raises(BusyError):
            await executor.run(work)
        assert len(running) == 1
        # One that no longer waits for its answer still occupies the thread.
        first[0].cancel()
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await executor.run(work)
        go.set()
        assert await first[1] == 'done'
        await asyncio.sleep(0.05)
        assert await executor.run(work) == 'done'

    asyncio.run(ask())
    executor.close()


def test_event_loops_share_the_threads():
    executor = BoundedExecutor('test', 1, 20)
    go, busy = threading.Event(), threading.Event()

    def work():
        busy.set()
        assert go.wait(10)

    async def leave():
        task = asyncio.ensure_future(executor.run(work))
        while not busy.is_set():
            await asyncio.sleep(0.01)
        task.cancel()

    # Its loop is closed before the work is done.
    asyncio.run(leave())
    with ThreadPoolExecutor(2) as pool:

        async def ask(number):
            return await asyncio.wait_for(executor.run(lambda: number), 10)

        asked = [pool.submit(asyncio.run, ask(n)) for n in range(2)]
        time.sleep(0.05)
        go.set()
        assert [each.result() for each in asked] == [0, 1]
    executor.close()


def test_busy_is_told_with_when_to_come_back(client, monkeypatch):
    async def refuse(*_, **__):
        raise BusyError

    for method in ('run', 'run_batched'):
        monkeypatch.setattr(BoundedExecutor, method, refuse)
    page = client.get('/?q=a+dog')
    assert 'value="a dog"' in page.text
    assert 'data-retry="2"' in page.text
    assert 'href="/?q=a+dog">Try again' in page.text
    for address in ('/?q=dog', '/api/search?q=dog', '/health', '/video/1'):
        answer = client.get(address)
        assert answer.status_code == 503
        assert answer.headers['retry-after'] == '2'


def test_clients_take_turns_and_questions_go_together():
    executor = BoundedExecutor('test', 1, 20)
    go, batches = threading.Event(), []

    def work(items):
        batches.append(items)
        assert go.wait(10)
        return [ValueError(item) if item == 'bad' else item for item in items]

    async def ask():
        first = asyncio.ensure_future(executor.run_batched(work, 'first'))
        await asyncio.sleep(0.05)
        many = [
            asyncio.ensure_future(executor.run_batched(work, n, 'many'))
            for n in range(10)
        ]
        await asyncio.sleep(0)
        # A flood takes half of the places; others come in, and soon.
        with pytest.raises(BusyError):
            await executor.run_batched(work, 'more', 'many')
        other = asyncio.ensure_future(
            executor.run(lambda: 'other', client='b')
        )
        bad = asyncio.ensure_future(executor.run_batched(work, 'bad', 'c'))
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(first, *many) == ['first', *range(10)]
        assert await other == 'other'
        with pytest.raises(ValueError, match='bad'):
            await bad

    asyncio.run(ask())
    executor.close()
    assert batches[0] == ['first']
    assert batches[1][:2] == [0, 'bad']


def test_a_batch_answers_as_each_alone(app, client, searcher, monkeypatch):
    texts = [QUERY, 'a blue star', 'no', 'a green square falling']
    alone = [
        client.get('/api/search', params=dict(q=text, k=4)).json()
        for text in texts
    ]
    answers = Answers(searcher, Library(searcher.store))
    calls = []
    for name in ('find_candidates', 'find_entry', 'read_videos', 'find_files'):
        method = getattr(searcher.store, name)

        def count(*args, method=method, name=name):
            calls.append(name)
            return method(*args)

        monkeypatch.setattr(searcher.store, name, count)
    together = answers.search([(text, 4) for text in texts])
    # However many texts and results there are.
    assert sorted(calls) == ['find_candidates', 'find_files', 'read_videos']
    for found, expected in zip(together, alone, strict=True):
        hits = [hit.to_dict() for hit in found.hits]
        assert [h['id'] for h in hits] == [
            hit['id'] for hit in expected['results']
        ]
        assert [h['score'] for h in hits] == pytest.approx(
            [hit['score'] for hit in expected['results']], abs=1e-5
        )


def test_one_bad_question_spoils_no_other(searcher, monkeypatch):
    search = searcher.search

    def fail(texts, **options):
        if 'bad' in texts:
            raise SetupError('bad')
        return search(texts, **options)

    monkeypatch.setattr(searcher, 'search', fail)
    answers = Answers(searcher, Library(searcher.store))
    good, bad = answers.search([('good', 2), ('bad', 2)])
    assert len(good.hits) == 2
    assert isinstance(bad, SetupError)


def test_an_index_that_is_not_there_is_one_message_until_it_is_back(
    searcher, videos, tmp_path
):
    own = TextVideoSearcher(searcher.config)
    place = tmp_path / 'index'
    own.index(videos / 'plain.mp4', into=place, progress=False)
    paths = [
        '/',
        '/?q=red',
        '/api/search?q=red',
        '/health',
        f'/watch/{"0" * 32}',
    ]
    app = create_app(own, 'one', tmp_path / 'cache')
    with TestClient(app, base_url='http://localhost') as client:
        assert client.get('/api/search?q=red').status_code == 200
        place.rename(tmp_path / 'away')
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 503, path
            assert 'index is not there' in answer.text
            assert str(tmp_path) not in answer.text
        (tmp_path / 'away').rename(place)
        assert client.get('/?q=red').status_code == 200


def test_copies_and_unknown_words_are_in_the_answers(
    searcher, videos, tmp_path
):
    own = TextVideoSearcher(searcher.config)
    folder = tmp_path / 'videos'
    folder.mkdir()
    for name in 'abc':
        shutil.copy(videos / 'plain.mp4', folder / f'{name}.mp4')
    own.index(folder, into=tmp_path / 'index', progress=False)
    app = create_app(own, 'one', tmp_path / 'cache')
    with TestClient(app, base_url='http://localhost') as client:
        answer = client.get('/api/search?q=kreis').json()
        assert (answer['unknown'], answer['is_unknown']) == (['kreis'], True)
        assert not answer['fits']
        (result,) = answer['results']
        assert (result['copies'], result['is_gone']) == (2, False)
        page = client.get('/?q=kreis').text
        assert 'knows none of these words' in page
        assert 'best of' not in page
        page = client.get('/?q=a red kreis').text
        assert '>1</span> best of 3 videos' in page
        assert 'and 2 copies' in page
        assert 'words not known: kreis' in page


def test_answers_are_as_the_description_says(client, key_of):
    jsonschema = pytest.importorskip('jsonschema')
    described = client.get('/static/openapi.json').json()
    key = key_of('plain.mp4')
    for path, methods in described['paths'].items():
        answer = client.get(path.replace('{key}', key) + '?q=red&k=2')
        content = methods['get']['responses']['200']['content']
        schema = content['application/json']['schema']
        whole = {**schema, 'components': described['components']}
        jsonschema.Draft202012Validator(whole).validate(answer.json())
        bad = client.get(path.replace('{key}', 'x') + '?k=x')
        if bad.status_code != 200:
            assert list(bad.json()) == ['error']
    routes = [route.path for route in client.app.app.app.routes]
    api = {path for path in routes if path.startswith(('/api/', '/health'))}
    assert api == described['paths'].keys()


def test_filters_and_pages_reach_the_model(client, searcher):
    whole = client.get('/api/search?q=red&k=6').json()['results']
    some = client.get('/api/search?q=red&k=2&offset=2').json()
    assert [hit['id'] for hit in some['results']] == [
        hit['id'] for hit in whole[2:4]
    ]
    assert [hit['rank'] for hit in some['results']] == [3, 4]
    asked = dict(q='red', where="name = 'plain'")
    (hit,) = client.get('/api/search', params=asked).json()['results']
    assert hit['fields']['folder'] == ''
    assert 'path' not in hit['fields']
    answer = client.get('/api/search', params=dict(q='red', where='nme = 1'))
    assert answer.status_code == 422
    assert 'did you mean name' in answer.json()['error']
    # Nobody finds out where files are, not by asking either.
    assert 'path' not in client.get('/api/columns').json()['columns']
    asked = dict(q='red', where="path like '/%'")
    assert client.get('/api/search', params=asked).status_code == 422
    page = client.get('/', params=dict(q='red', k=2, where="name != '<'"))
    assert 'value="name != &#39;&lt;&#39;"' in page.text
    assert 'offset=2' in page.text
    assert client.get('/api/search?q=red&offset=961').status_code == 400


def test_the_client_asks_the_server(serving, searcher, tmp_path, capsys):
    from mmtvr.cli.search import main

    # The end of a server ends its application too.
    app = create_app(searcher, 'shapes <index>', tmp_path)
    with serving(app) as url:
        client = SearchClient(url)
        assert client.health()['videos'] == 6
        assert client.columns()['duration'] == 'number'
        found = client.search(QUERY, 2, where='duration > 0', offset=1)
        assert [hit['rank'] for hit in found['results']] == [2, 3]
        assert len(client.similar(found['results'][0]['id'], 2)) == 2
        with pytest.raises(SetupError, match='no column'):
            client.search(QUERY, where='x = 1')
        assert main(['--server', url, QUERY, '--top-k', '1']) == 0
    assert capsys.readouterr().out.startswith(f'{QUERY}\n  1  ')
    with pytest.raises(SetupError, match='is it running'):
        client.health()
