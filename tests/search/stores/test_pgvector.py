"""An index in PostgreSQL; what all engines share is tested with them."""

import threading

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search import indexing
from mmtvr.search.filters import Filter
from mmtvr.search.stores import coded_store, open_store
from mmtvr.search.stores import pgvector as postgres
from mmtvr.search.stores.base import (
    IndexUnavailableError,
    Metadata,
    StoredVideos,
    hide_secrets,
)
from mmtvr.search.stores.pgvector import PgvectorStore, parse_address
from tests.search.conftest import WIDTH, check_codes, check_switch, draw
from tests.search.stores.conftest import FRAMES, fill, rank_slowly


@pytest.mark.parametrize(
    ('url', 'server', 'name'),
    [
        (
            'postgresql://ann:p%40ss@db:5433/films/clips?sslmode=require',
            'postgresql://ann:p%40ss@db:5433/films?sslmode=require',
            'clips',
        ),
        ('postgres://db/films', 'postgresql://db/films', 'mmtvr'),
        (
            'postgresql:///films/clips?host=/run/postgresql',
            'postgresql:///films?host=/run/postgresql',
            'clips',
        ),
    ],
)
def test_an_address_is_a_database_and_a_schema(url, server, name):
    assert parse_address(url) == (server, name)


@pytest.mark.parametrize(
    ('url', 'match'),
    [
        ('postgresql://db.example.org', 'HOST:5432/DATABASE/NAME'),
        ('postgresql://ann:secret@db/films/2026', 'no digit first'),
        ('postgresql://ann:secret@db/films/a/b', 'no digit first'),
        ('postgresql://ann:pa/secret@db/films/x', 'percent-encode'),
        ('postgresql://ann:secret#pa@db/films', 'percent-encode'),
    ],
)
def test_an_address_that_is_none_is_told_without_its_secrets(url, match):
    with pytest.raises(SetupError, match=match) as caught:
        open_store(url)
    assert 'secret' not in str(caught.value)


def test_secrets_are_left_out_of_what_is_shown():
    url = 'postgresql://ann:secret@db/films/clips?password=secret'
    assert hide_secrets(url) == 'postgresql://db/films/clips'


def test_a_server_that_is_not_there_is_a_message():
    pytest.importorskip('psycopg')
    # Nobody may listen below 1024 but who is asked to.
    store = open_store('postgresql://ann:secret@127.0.0.1:1/films/clips')
    with pytest.raises(SetupError, match=r'127\.0\.0\.1') as caught:
        store.read_info()
    assert 'secret' not in str(caught.value)


@pytest.mark.slow
def test_tables_of_somebody_else_stay_as_they_are(postgres_server, about):
    import psycopg

    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA theirs')
        connection.execute('CREATE TABLE theirs.files (name text)')
        store = open_store(f'{postgres_server.url}/theirs')
        assert store.read_info() is None
        with pytest.raises(SetupError, match=r'theirs\.files of something'):
            store.create(about)
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'theirs'"
        )
        assert rows.fetchall() == [('files',)]


@pytest.mark.slow
def test_two_processes_do_not_index_at_once(
    postgres_server, videos, index_folder
):
    place = f'{postgres_server.url}/locked'
    with (
        open_store(place).lock(),
        pytest.raises(SetupError, match='another process is indexing'),
    ):
        index_folder([videos], place)
    assert open_store(place).read_info() is None
    index_folder([videos], place)


@pytest.mark.slow
def test_an_index_of_another_model_in_its_place_is_told(
    postgres_server, videos, index_folder, about
):
    place = f'{postgres_server.url}/replaced'
    _, _, store = index_folder([videos], place)
    open_store(place).create({**about, 'model': 'd' * 24})
    with pytest.raises(IndexUnavailableError, match='another model'):
        store.nearest(np.eye(WIDTH, dtype=np.float32)[0], 1)


@pytest.mark.slow
def test_a_large_index_has_a_graph_that_finds_what_a_scan_finds(
    postgres_server, about, monkeypatch
):
    import psycopg

    monkeypatch.setattr(postgres, 'ROWS_FOR_VECTORS', 4000)
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((2000, 4, WIDTH)).astype('f4')
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    pooled = tokens.mean(1)
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    names = [f'{number:032x}' for number in range(2000)]
    times = [np.arange(4, dtype='f4')] * 2000
    store = open_store(f'{postgres_server.url}/graph')
    store.create(about)
    store.add_videos(StoredVideos(names, pooled, list(tokens), times))
    store.compact()
    parts = tokens.reshape(2000, 2, 2, WIDTH).sum(2)
    parts /= np.linalg.norm(parts, axis=2, keepdims=True)
    queries = pooled[:20]
    exact = np.einsum('vpd,qd->qvp', parts, queries).max(2)
    found = 0
    for row, query in enumerate(queries):
        best = [names[each] for each in np.argsort(-exact[row])[:10]]
        found += len({c for c, _ in store.nearest(query, 10)} & set(best))
    assert found > 190
    with psycopg.connect(postgres_server.url) as connection:
        plan = connection.execute(
            'EXPLAIN SELECT content FROM graph.parts ORDER BY vector <#> '
            f"'{queries[0].tolist()}'::halfvec LIMIT 20"
        ).fetchall()
    assert 'Index Scan using parts_vector' in str(plan)


@pytest.mark.slow
def test_values_of_filters_and_texts_are_values(
    postgres_server, about, monkeypatch
):
    store = open_store(f'{postgres_server.url}/values')
    store.create(about)
    store.add_columns(dict(title='text', seen='boolean', level='number'))
    titles = ["100% {} b'a\\", 'ÄPFEL und \0 \ud800', 'Zebra', None]
    store.put_metadata(
        [
            Metadata(
                f'{row}', f'{row:032x}', {}, dict(title=title), title or ''
            )
            for row, title in enumerate(titles)
        ]
    )

    def find(where):
        keys = store.find_matching(Filter(where, store.list_columns()))
        return sorted(key for each in keys.values() for key in each)

    assert find("title = '100% {} b''a\\'") == ['0']
    assert find("title like '100\\% {}%'") == ['0']
    assert find("title ilike 'äpfel%'") == ['1']
    # By bytes, as in LanceDB.
    assert find("title > 'Zz'") == ['1']
    assert find('title is null and level is null and seen is null') == ['3']
    where = Filter("title like '%{}%'", store.list_columns())
    assert [key for key, _ in store.search_text("b'a\\ zebra", 5)] == [
        '2',
        '0',
    ]
    assert store.search_text("b'a\\ zebra", 5, where) == [('0', f'{0:032x}')]
    assert store.search_text("' & | ! \\ the", 5) == []
    with pytest.raises(SetupError, match='63'):
        store.add_columns({64 * 'a': 'text'})


@pytest.mark.slow
def test_who_may_not_read_codes_searches_without(
    postgres_server, drawn, queries, monkeypatch
):
    psycopg = pytest.importorskip('psycopg')
    monkeypatch.setattr(coded_store, 'CODED_FROM', 5)
    monkeypatch.setattr(coded_store, 'SECONDS_BETWEEN_LOOKS', -1.0)
    place = f'{postgres_server.url}/rights'
    fill(open_store(place), drawn).compact()
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:

        def run(statement):
            connection.execute(statement)

        run('CREATE ROLE reader LOGIN')
        run('GRANT USAGE ON SCHEMA rights TO reader')
        # As they were given before there was the table of codes.
        for table in ('videos', 'parts', 'files', 'about'):
            run(f'GRANT SELECT ON rights.{table} TO reader')
        store = open_store(place.replace('postgres@', 'reader@'))
        expected = [rank_slowly(drawn, query, FRAMES) for query in queries]
        with pytest.warns(UserWarning, match='GRANT SELECT ON rights.codes'):
            assert store.find_candidates(queries, 60) == expected
        run('GRANT SELECT ON rights.codes TO reader')
    monkeypatch.setattr(store, 'nearest_each', None)
    assert store.find_candidates(queries, 60) == expected


@pytest.mark.slow
def test_a_killed_server_has_what_it_acknowledged(
    postgres_server, tmp_path, index_folder, monkeypatch
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    place = f'{postgres_server.url}/killed'
    monkeypatch.setattr(indexing, 'VIDEOS_PER_COMMIT', 4)
    monkeypatch.setattr(coded_store, 'CODED_FROM', 5)
    acknowledged, reached = [], threading.Event()
    put = PgvectorStore.put_files

    def put_and_note(store, entries):
        put(store, entries)
        acknowledged.extend(entries)
        if len(acknowledged) >= 12:
            reached.set()

    monkeypatch.setattr(PgvectorStore, 'put_files', put_and_note)
    for number in range(40):
        if number == 10:
            # Of these there are codes when the others come.
            index_folder([folder], place)
        (folder / f'{number}.mp4').write_bytes(b'%d' % number)
    reader = open_store(place)

    def kill():
        assert reached.wait(60)
        postgres_server.kill()
        postgres_server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report, _, store = index_folder([folder], place)
    finally:
        killer.join()
    # The changes waited for the server, and so does a reader.
    assert (report.encoded, store.count_videos()) == (30, 40)
    assert {e.path for e in acknowledged} == {
        entry.path for entry in reader.list_files()
    }
    postgres_server.kill()
    postgres_server.start()
    contents = sorted(reader.list_contents())
    assert reader.nearest(draw(contents[7]).pooled, 1)[0][0] == contents[7]
    check_codes(place, reader.read_videos(contents))


@pytest.mark.slow
def test_a_new_model_takes_over_while_the_old_one_answers(
    postgres_server, videos, index_folder, about
):
    check_switch(postgres_server.url, videos, index_folder, about)
