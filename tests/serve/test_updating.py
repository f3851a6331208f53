import shutil
import time

import pytest
from starlette.testclient import TestClient

from mmtvr.apis.searcher import TextVideoSearcher, describe_index
from mmtvr.search.progress import ProgressFile
from mmtvr.serve.app import create_app


@pytest.fixture
def own(searcher, videos, tmp_path):
    """A searcher with an index of a folder with one video, and the folder."""
    folder = tmp_path / 'videos'
    folder.mkdir()
    shutil.copy(videos / 'plain.mp4', folder / 'one.mp4')
    found = TextVideoSearcher(searcher.config)
    found.index(folder, into=tmp_path / 'index', progress=False)
    return found, folder


def wait_for_end(client):
    for _ in range(600):
        now = client.get('/indexing').json()
        if not now['is_running']:
            return now
        time.sleep(0.05)
    raise AssertionError(now)


def test_the_page_takes_in_new_files_and_says_what_failed(
    own, videos, tmp_path
):
    found, folder = own
    app = create_app(found, 'one', tmp_path / 'cache')
    with TestClient(app, base_url='http://localhost') as client:
        assert 'Look for new files' in client.get('/').text
        shutil.copy(videos / 'old.avi', folder)
        (folder / 'broken.mp4').write_bytes(b'no video')
        answer = client.post('/indexing', follow_redirects=False)
        assert answer.status_code == 303
        now = wait_for_end(client)
        assert now['message'] == '1 new, 0 gone. 1 could not be read.'
        assert client.get('/health').json()['videos'] == 2
        assert now['message'] in client.get('/').text
        assert len(client.get('/api/search?q=red').json()['results']) == 2
        other = {'sec-fetch-site': 'cross-site'}
        assert client.post('/indexing', headers=other).status_code == 403
    status = describe_index(tmp_path / 'index')
    assert status['sources'] == {str(folder): 3}
    assert list(status['failed']) == [str(folder / 'broken.mp4')]
    assert status['indexing'] is None


def test_others_start_no_indexing(own, tmp_path):
    app = create_app(own[0], 'one', tmp_path / 'cache', can_index=False)
    with TestClient(app, base_url='http://localhost') as client:
        assert client.post('/indexing').status_code == 403
        assert 'Look for new files' not in client.get('/').text
        # What another process does is seen all the same.
        progress = ProgressFile(str(tmp_path / 'index'))
        progress.begin(7)
        assert client.get('/indexing').json()['total'] == 7
        assert 'Indexing: 0 of 7 files' in client.get('/').text
        progress.end()
        assert not client.get('/indexing').json()['is_running']
