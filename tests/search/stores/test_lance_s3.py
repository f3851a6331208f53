"""LanceDB in an object store, on a local server of S3."""

import numpy as np
import pytest

from mmtvr.errors import SetupError
from mmtvr.search.query import search_by_vectors
from mmtvr.search.stores import open_store
from tests.search.conftest import WIDTH

pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(s3_server, monkeypatch):
    """Address of a bucket."""
    for name, value in dict(
        AWS_ENDPOINT=s3_server.url,
        AWS_ALLOW_HTTP='true',
        AWS_REGION='us-east-1',
        AWS_ACCESS_KEY_ID='any',
        AWS_SECRET_ACCESS_KEY='any',
    ).items():
        monkeypatch.setenv(name, value)
    s3_server.make_bucket('videos')
    return 's3://videos'


def test_an_index_lives_in_an_object_store(bucket, videos, index_folder):
    place = f'{bucket}/folder/index'
    with pytest.raises(SetupError, match='there is no index'):
        open_store(place).require_info()
    report, encoded, _ = index_folder([videos], place)
    assert (report.videos, len(encoded)) == (3, 3)
    report, encoded, _ = index_folder([videos], place)
    assert (report.unchanged, encoded) == (3, [])
    (videos / 'one.mp4').rename(videos / 'nested/other.mp4')
    (videos / 'two.AVI').unlink()
    report, encoded, _ = index_folder([videos], place)
    assert encoded == []
    assert (report.videos, report.reused, report.removed) == (2, 1, 2)
    reader = open_store(place)
    contents = sorted(reader.list_contents())
    pooled = reader.read_videos(contents).pooled
    assert reader.nearest(pooled[1], 1)[0][0] == contents[1]
    found = search_by_vectors(place, np.eye(WIDTH, dtype=np.float32)[:1])[0]
    assert {each.path for each in found} == {
        str(videos / name)
        for name in ('nested/other.mp4', 'nested/three.webm')
    }


def test_a_bucket_that_is_not_there_is_a_message(bucket):
    with pytest.raises(SetupError, match='s3://absent/index'):
        open_store('s3://absent/index').require_info()
