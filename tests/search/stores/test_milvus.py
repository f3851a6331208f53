"""Milvus at an address, in place of a file: served by Milvus Lite over gRPC.

What Lite does not have, logins, databases and limits, is asked of a client
that notes what it is given.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.stores import milvus, open_store
from mmtvr.search.stores.base import IndexUnavailableError, hide_secrets
from mmtvr.search.stores.milvus import (
    KINDS,
    MAX_HITS,
    WITH_CONTENT,
    MilvusStore,
    choose_string_index,
    make_collection,
    parse_address,
)
from tests.search.conftest import check_switch

pymilvus = pytest.importorskip('pymilvus')


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    """Address of a server."""
    serving = pytest.importorskip('milvus_lite.adapter.grpc.server')
    folder = tmp_path_factory.mktemp('milvus')
    process, database, port = serving.start_server_in_thread(str(folder))
    yield f'http://127.0.0.1:{port}'
    process.stop(grace=None)
    database.close()


def test_indexes_of_one_server_are_told_apart_and_loaded_when_released(
    server, videos, index_folder
):
    _, _, first = index_folder([videos], f'{server}/first')
    _, _, second = index_folder([videos / 'nested'], f'{server}/second')
    assert (first.count_videos(), second.count_videos()) == (3, 1)
    assert second.url == f'{server}/second'
    client = pymilvus.MilvusClient(server)
    for kind in KINDS:
        client.release_collection(f'first_{kind}')
    reader = open_store(f'{server}/first')
    assert reader.read_info()['width'] == first.read_info()['width']
    contents = sorted(reader.list_contents())
    query = reader.read_videos(contents).pooled[1]
    assert reader.nearest(query, 1)[0][0] == contents[1]


@pytest.mark.parametrize('kind', KINDS)
def test_what_a_killed_process_did_not_index_is_indexed_by_the_next(
    kind, server, about, monkeypatch
):
    url, name = f'{server}/killed_{kind}', f'killed_{kind}_{kind}'
    make = pymilvus.MilvusClient.create_index

    def die(client, collection, *arguments, **options):
        if collection == name:
            raise KeyboardInterrupt
        make(client, collection, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pymilvus.MilvusClient, 'create_index', die)
        with pytest.raises(KeyboardInterrupt):
            open_store(url).create(about)
    client = pymilvus.MilvusClient(server)
    assert client.list_indexes(name) == []
    store = open_store(url)
    assert store.read_info() is None
    store.create(about)
    content = ['content'] if kind in WITH_CONTENT else []
    assert sorted(client.list_indexes(name)) == [*content, 'vector']
    assert open_store(url).read_info() == about


def test_a_collection_of_somebody_else_stays_as_it_is(server, about):
    client = pymilvus.MilvusClient(server)
    client.create_collection('theirs_videos', dimension=8)
    with pytest.raises(SetupError, match=r'theirs_videos already.*\b8\b'):
        open_store(f'{server}/theirs').create(about)
    assert client.has_collection('theirs_videos')


def test_what_the_server_refuses_is_a_message(server, about):
    store = open_store(f'{server}/refused')
    with pytest.raises(SetupError, match=f'Milvus at {server}: '):
        store.count_videos()


def test_an_address_is_switched_to_another_index(
    server, videos, index_folder, about
):
    check_switch(server, videos, index_folder, about)


class NotingClient:
    """In place of a client of a cluster; notes what it was given."""

    version = 'v2.3.5'

    def __init__(self, uri, **options):
        self.uri, self.options, self.calls = uri, options, []

    def __getattr__(self, name):
        def call(*arguments, **options):
            if name == 'get_server_version':
                return self.version
            self.calls.append((name, arguments, options))
            return [[]] if name == 'search' else []

        return call


@pytest.fixture
def noting(monkeypatch):
    """Function that opens a store of a cluster that is not there."""
    monkeypatch.setattr(pymilvus, 'MilvusClient', NotingClient)
    monkeypatch.delenv('MILVUS_TOKEN', raising=False)

    def open_noting(url):
        store = MilvusStore(url)
        return store, store._client._client

    return open_noting


@pytest.mark.parametrize(
    ('before', 'after', 'options'),
    [
        ('', '', {}),
        ('ann:p%40ss@', '', dict(user='ann', password='p@ss')),
        ('', '?token=a%2Fb+c=', dict(token='a/b+c=')),
        ('', '?db=films&token=t', dict(db_name='films', token='t')),
    ],
)
def test_logins_reach_the_client_and_nobody_else(
    before, after, options, noting
):
    store, client = noting(f'https://{before}db.example.org:443/clips{after}')
    assert client.uri == 'https://db.example.org:443'
    assert client.options == options
    assert store.url == 'https://db.example.org:443/clips' + (
        '?db=films' if 'db=' in after else ''
    )


def test_a_token_need_not_stand_in_the_address(noting, monkeypatch):
    monkeypatch.setenv('MILVUS_TOKEN', 'secret')
    _, client = noting('https://db.example.org/clips')
    assert client.options == dict(token='secret')


def test_no_more_hits_are_asked_for_than_a_server_gives(noting, monkeypatch):
    store, client = noting('http://db.example.org/clips')
    store._info = dict(parts=4)
    store.nearest(np.zeros(8, np.float32), 10_000)
    ((_, _, options),) = client.calls
    assert options['limit'] == MAX_HITS


@pytest.mark.filterwarnings('ignore:Milvus at:UserWarning')
@pytest.mark.parametrize(
    ('version', 'strings'),
    [
        ('v2.3.5', 'Trie'),
        ('v2.3.21-dev', 'Trie'),
        ('v2.4.0', 'INVERTED'),
        ('Zilliz Cloud Vector Database(Compatible with 2.5)', 'INVERTED'),
        ('milvus_lite-3.2.2', 'INVERTED'),
        ('master-f3a1', 'INVERTED'),
    ],
)
def test_each_field_gets_the_index_that_it_needs(
    version, strings, noting, monkeypatch
):
    monkeypatch.setattr(NotingClient, 'version', version)
    from pymilvus import MilvusClient as Given

    store, client = noting('http://db.example.org/clips')
    assert Given is NotingClient
    client.has_collection = lambda name: False
    client.create_schema = pymilvus.milvus_client.MilvusClient.create_schema
    made = {}
    client.prepare_index_params = lambda: made.setdefault('i', IndexNotes())
    make_collection(store._client, 'clips', 'videos', 512)
    make_collection(store._client, 'clips', 'files')
    assert made['i'] == [
        ('content', strings),
        ('vector', 'AUTOINDEX'),
        ('content', strings),
        ('vector', 'FLAT'),
    ]


def test_servers_are_taken_untested_ones_with_a_warning(recwarn):
    choose_string_index('v2.3.0', 'there')
    choose_string_index('milvus_lite-9.0', 'there')
    assert not recwarn.list
    for version in ('v2.5.4', 'v3.0.0', 'Zilliz Cloud'):
        with pytest.warns(UserWarning, match=rf'{version}.*2\.3 was'):
            choose_string_index(version, 'there')
    for version in ('v2.2.16', 'v1.1.0'):
        with pytest.raises(SetupError, match=rf'{version}.*2\.3 and later'):
            choose_string_index(version, 'there')


class IndexNotes(list):
    """In place of pymilvus' parameters of indices."""

    def add_index(self, field, index_type, **_):
        self.append((field, index_type))


@pytest.mark.parametrize(
    ('url', 'match'),
    [
        ('http://db.example.org/no-name?token=secret', 'no digit first'),
        ('http://db.example.org/2026', 'no digit first'),
        ('http://ann:secret@db.example.org/x?data=y', 'token= and db= alone'),
        ('http://db.example.org/x?token=abc&secret', 'write & in a token'),
        ('http://ann:pa/secret@db.example.org/x', 'percent-encode'),
        ('http://ann:secret?pa@db.example.org/x', 'percent-encode'),
        ('http://ann:secret#pa@db.example.org', 'percent-encode'),
        ('http://ann:secret[pa@db.example.org/x', 'percent-encode'),
        ('http://db.example.org/x?token=a@secret', 'percent-encode'),
        ('http://db.example.org/x?token=a#secret', 'percent-encode'),
        ('milvus:clips', r'ends in \.db'),
        ('milvus://ann:secret@db.example.org/x', 'a cluster is at http'),
    ],
)
def test_an_address_that_is_none_is_told_without_its_secrets(url, match):
    with pytest.raises(SetupError, match=match) as caught:
        parse_address(url)
    assert 'secret' not in str(caught.value)


def test_secrets_are_left_out_of_what_is_shown():
    url = 'https://ann:secret@db.example.org/clips?token=secret'
    assert hide_secrets(url) == 'https://db.example.org/clips'
    for password in ('pa/ss', 'pa?ss', 'pa#ss', 'pa[ss', 'pa\N{ACCOUNT OF}ss'):
        url = f'https://ann:{password}@db.example.org/clips'
        assert hide_secrets(url) == 'https://...'
        with pytest.raises(SetupError) as caught:
            open_store(f'ftp{url}')
        assert 'ss@' not in str(caught.value)
    assert hide_secrets('s3://bucket/a@b') == 's3://bucket/a@b'
    assert hide_secrets('folder/of?token=1') == 'folder/of?token=1'


def test_a_server_that_is_starting_is_asked_again(monkeypatch):
    failure = pymilvus.exceptions.MilvusException
    errors = [
        (2, 'nobody answers'),
        # The proxy is there before the coordinator is.
        (65535, 'attempt #0: rpc error: code = DeadlineExceeded desc = late'),
        (101, 'not loaded'),
    ]
    loaded = []

    class Standin:
        def get(self, name, ids):
            if errors:
                raise failure(*errors.pop(0))
            return [name, *ids]

        def load_collection(self, name):
            loaded.append(name)

    client = object.__new__(milvus.MilvusClient)
    client._client, client._failure, client._uri = Standin(), failure, 'here'
    monkeypatch.setattr(milvus, 'SECONDS_BETWEEN_TRIES', 0)
    assert client.get('files', ids=[1]) == ['files', 1]
    assert loaded == ['files']
    for code in (1, 65535):
        errors.append((code, 'no room'))
        with pytest.raises(SetupError, match='here: no room'):
            client.get('files', ids=[1])
    errors.append((2, 'nobody answers'))
    monkeypatch.setattr(milvus, 'SECONDS_TO_RETURN', -1)
    with pytest.raises(SetupError, match='nobody answers'):
        client.get('files', ids=[1])


def test_facts_that_a_server_has_not_read_again_yet_are_waited_for(
    monkeypatch, about
):
    class Standin:
        def has_collection(self, name):
            return True

        def list_indexes(self, name, field_name):
            return [field_name]

        def get(self, name, ids, output_fields, consistency_level):
            asked.append(consistency_level)
            is_there = facts and consistency_level == 'Strong'
            return [dict(json=json.dumps(facts))] if is_there else []

    asked, facts = [], dict(about)
    store = open_store('http://localhost:19530/clips')
    store._client, store._info, store._read_at = Standin(), about, 0.0
    monkeypatch.setattr(milvus, 'FACTS_SECONDS', -1)
    assert store.read_info() == about
    assert asked == [milvus.LOOKUP, 'Strong']
    facts.clear()
    with pytest.raises(IndexUnavailableError, match='no longer there'):
        store.read_info()


OPEN_AND_WAIT = """
import sys, time
from mmtvr.search.stores import open_store
store = open_store(sys.argv[1])
store.create(dict(format=1, width=4, precision='float16', parts=1))
time.sleep(50)
print(store.count_videos())
"""


@pytest.mark.slow
def test_milvus_lite_that_nobody_asks_for_a_while_writes_nothing(tmp_path):
    pytest.importorskip('milvus_lite')
    run = subprocess.run(
        [sys.executable, '-c', OPEN_AND_WAIT, f'milvus:{tmp_path}/a.db'],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (run.stdout, run.stderr) == ('0\n', '')
