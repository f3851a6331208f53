import asyncio
import shutil
import threading

import pytest
from starlette.testclient import TestClient

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.serve.app import create_app
from mmtvr.serve.requests import BoundedExecutor, BusyError

QUERY = 'a red circle rising'


def test_search_gives_what_the_model_finds(client, searcher):
    answer = client.get('/api/search', params=dict(q=QUERY, k=3)).json()
    assert answer['query'] == QUERY
    expected = searcher.search(QUERY, top_k=3)
    assert [r['score'] for r in answer['results']] == [
        result.score for result in expected
    ]
    best = answer['results'][0]
    assert best['rank'] == 1
    assert best['time'] == expected[0].time
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


def test_busy_is_told_with_when_to_come_back(client, monkeypatch):
    async def refuse(*_):
        raise BusyError

    monkeypatch.setattr(BoundedExecutor, 'run', refuse)
    page = client.get('/?q=dog')
    assert page.status_code == 503
    assert page.headers['retry-after'] == '2'


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
        (result,) = answer['results']
        assert (result['copies'], result['is_gone']) == (2, False)
        page = client.get('/?q=a red kreis').text
        assert 'The 1 best of 3 videos' in page
        assert 'and 2 copies' in page
        assert 'words not known: kreis' in page
