"""An encoder that needs no video: features are drawn by a file's content."""

import numpy as np
import pytest

from mmtvr import apis
from mmtvr.errors import SetupError
from mmtvr.search.encoder import EncodedVideo, VideoFeatures
from mmtvr.search.indexing import Indexer
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import QueryVectors
from mmtvr.search.video_dataset import name_content
from mmtvr.search.video_files import find_videos

WIDTH, FRAMES = 16, 4


def draw(content):
    rng = np.random.default_rng(int(content, 16))
    tokens = rng.standard_normal((FRAMES, WIDTH)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
    pooled = tokens.mean(0) / np.linalg.norm(tokens.mean(0))
    return VideoFeatures(pooled, tokens, np.arange(FRAMES, dtype=np.float32))


class ContentEncoder:
    """Stands for a model; lists what it tries to encode."""

    batch_size = 1

    def __init__(self):
        self.encoded = []

    def encode_videos(self, videos, workers=0, known=frozenset()):
        for video in videos:
            content = name_content(video)
            if content in known:
                yield EncodedVideo(content)
                continue
            self.encoded.append(video.path)
            with open(video.path, 'rb') as file:
                if file.read() == b'broken':
                    yield EncodedVideo(content, error='broken')
                    continue
            yield EncodedVideo(content, draw(content))


@pytest.fixture
def about():
    """Facts of a model that is not there."""
    return dict(
        format=1,
        name='content',
        model='a' * 24,
        pipeline='b' * 24,
        checkpoint='c' * 24,
        checkpoint_path='here.pth',
        width=WIDTH,
        precision='float16',
        parts=2,
    )


@pytest.fixture
def index_folder(about):
    """Function that indexes folders or files into a place."""

    def run(sources, into, retry=False, table=None, **changes):
        store = open_store(into)
        encoder, info = ContentEncoder(), {**about, **changes}
        indexer = Indexer(
            store, encoder, info, progress=False, retry=retry, table=table
        )
        report = indexer.run(find_videos(sources))
        return report, encoder.encoded, store

    return run


def check_codes(place, videos):
    """Find each video on a server by its own frames, and by codes alone."""
    store = open_store(place)
    store.nearest_each = None
    weights = np.full(FRAMES, 1 / FRAMES, np.float32)
    for content, pooled, tokens, _ in zip(*videos, strict=True):
        query = QueryVectors(pooled, tokens, weights, share=0.0)
        assert store.find_candidates([query], 1) == [[content]]
    assert store._look().codes.includes(np.array(videos.contents, 'S')).all()


def check_switch(server, videos, index_folder, about):
    """Rebuild an index with another model, and switch to it."""
    clips = f'{server}/clips'
    *_, first = index_folder([videos], f'{server}/clips_1')
    apis.switch_index(clips, 'clips_1')
    serving = open_store(clips)
    assert serving.read_info()['model'] == about['model']
    # The command that keeps the index up to date goes by the address too.
    (videos / 'four.mp4').write_bytes(b'four')
    report, *_ = index_folder([videos], clips)
    assert (report.videos, report.encoded) == (4, 1)
    assert first.count_videos() == 4
    new = dict(model='d' * 24, parts=1)
    index_folder([videos], f'{server}/clips_2', **new)
    (content,) = (
        entry.content
        for entry in first.list_files()
        if entry.path.endswith('four.mp4')
    )
    query = draw(content).pooled
    before = serving.nearest(query, 4)
    apis.switch_index(clips, 'clips_2')
    # What is open answers as before, also after it looked at its facts again.
    serving._read_at = 0.0
    assert serving.nearest(query, 4) == before
    assert serving.read_info()['model'] == about['model']
    started = open_store(clips)
    assert started.require_info()['model'] == new['model']
    assert started.nearest(query, 1)[0][0] == content
    apis.switch_index(clips, 'clips_1')
    assert open_store(clips).require_info()['model'] == about['model']
    for address, name, match in (
        (clips, 'absent', 'there is no index .*absent'),
        (f'{server}/clips_2', 'clips_1', 'is an index itself'),
    ):
        with pytest.raises(SetupError, match=match):
            apis.switch_index(address, name)


@pytest.fixture(
    params=[
        'lance',
        'milvus',
        pytest.param('postgres', marks=pytest.mark.slow),
    ]
)
def place(request, tmp_path):
    """Address of an index that is not there yet, in each engine."""
    if request.param == 'lance':
        return tmp_path / 'index'
    if request.param == 'postgres':
        server = request.getfixturevalue('postgres_server')
        name = request.node.name.partition('[')[0][:60]
        return f'{server.url}/{name}'
    pytest.importorskip('pymilvus')
    pytest.importorskip('milvus_lite')
    return f'milvus:{tmp_path}/milvus.db'


@pytest.fixture
def videos(tmp_path):
    """A folder with three files that stand for videos, one of them nested."""
    folder = tmp_path / 'videos'
    (folder / 'nested').mkdir(parents=True)
    for name in ('one.mp4', 'two.AVI', 'nested/three.webm'):
        (folder / name).write_bytes(name.encode())
    (folder / 'notes.txt').write_bytes(b'no video')
    (folder / '.hidden.mp4').write_bytes(b'not yet whole')
    return folder
