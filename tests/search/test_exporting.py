import csv

import pytest
from PIL import Image

from mmtvr.errors import SetupError
from mmtvr.evaluation.run_files import read_qrels, read_run
from mmtvr.search.exporting import cut_clips, write_csv, write_run
from mmtvr.search.judgements import Judgements
from mmtvr.search.query import SearchResult
from mmtvr.video import AutoReader
from mmtvr.video.cutting import image_to_video, is_image


def test_a_table_has_the_columns_and_computes_nothing(tmp_path):
    hit = SearchResult(
        '/v/a.mp4', 0.5, 1, fields=dict(level=2.0), matched=('video', 'text')
    )
    path = tmp_path / 'hits.csv'
    assert write_csv(path, ['=1+1'], [[hit]]) == 1
    (row,) = csv.DictReader(path.open())
    assert row['query'] == "'=1+1"
    assert (row['path'], row['level']) == ('/v/a.mp4', '2.0')
    assert row['matched'] == 'video text'


def test_judgements_are_what_was_said_last_and_evaluation_reads_them(
    tmp_path,
):
    said = Judgements(tmp_path / 'said.jsonl')
    with pytest.raises(SetupError, match='no judgements'):
        said.export(tmp_path / 'qrels.txt')
    for query, key, value in (
        ('a dog', 'k1', True),
        ('a dog', 'k1', False),
        ('a dog', 'k2', True),
        ('a\tcat', 'k1', True),
        ('a\tcat', 'k1', None),
    ):
        said.add(query, key, value)
    with open(said.path, 'a') as file:
        file.write('{"query": "torn' + 5000 * 'x')
    assert said.of_query('a dog') == dict(k1=False, k2=True)
    assert said.export(tmp_path / 'qrels.txt') == (1, 2)
    assert read_qrels(tmp_path / 'qrels.txt') == dict(q1=dict(k1=0, k2=1))
    queries = (tmp_path / 'qrels.txt.queries.tsv').read_text()
    assert queries == 'q1\ta dog\n'
    found = [[SearchResult('a', 0.1, 1, key='k2')]]
    assert write_run(tmp_path / 'a.run', ['q1'], found) == 1
    assert read_run(tmp_path / 'a.run') == dict(q1=dict(k2=1.0))
    # The next line does not become a part of what was left unfinished.
    said.add('a dog', 'k3', True)
    assert said.of_query('a dog') == dict(k1=False, k2=True, k3=True)
    said.path.write_text('{"query": "torn')
    said.add('a dog', 'k4', True)
    assert said.read() == {'a dog': dict(k4=True)}


def test_clips_are_of_the_moment(tmp_path):
    Image.new('RGB', (32, 24), 'red').save(tmp_path / 'red.png')
    assert is_image(tmp_path / 'red.png')
    source = tmp_path / 'still.mkv'
    image_to_video(tmp_path / 'red.png', source)
    assert not is_image(source)
    gone = SearchResult(str(tmp_path / 'gone.mp4'), 1, 2, time=0.5)
    hits = [
        SearchResult(str(source), 1, rank, time=time)
        for rank, time in ((1, 0.0), (2, 1.5))
    ]
    made, failed = cut_clips(tmp_path / 'clips', [*hits, gone], 0.9)
    assert list(failed) == [gone.path]
    assert [clip.name for clip in made] == [
        *('001_still_0.0s.mkv', '002_still_1.2s.mkv')
    ]
    for clip in made:
        with AutoReader(str(clip)) as reader:
            assert len(reader) == 1
            assert reader.get_frames([0])[0, 0, 0].tolist() == [255, 0, 0]
