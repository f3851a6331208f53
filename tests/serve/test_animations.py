"""Animated GIF and WebP from a folder to the preview in a browser."""

import io
from pathlib import Path

import av
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.app import create_app

CONFIG = Path(__file__).parents[2] / 'configs/clip4clip_moving_shapes.py'
PIPELINE = """
_base_ = '{config}'
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='mmtvr.LoadVideoFrames', num_frames=4, test_mode=True,
         short_side=54),
    dict(type='mmaction.CenterCrop', crop_size=54),
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TokenizeText', tokenizer='mmtvr://moving-shapes-clip',
         max_words=24),
    dict(type='mmtvr.PackTextVideo')]))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two animations, a still and a file that is cut off."""
    folder = tmp_path_factory.mktemp('animations')
    colors = ['red', 'green', 'blue', 'white']
    frames = [Image.new('RGB', (64, 54), color) for color in colors]
    options = dict(save_all=True, append_images=frames[1:], duration=200)
    for kind in ('gif', 'webp'):
        frames[0].save(folder / f'moving.{kind}', **options)
    frames[0].save(folder / 'still.webp')
    whole = (folder / 'moving.webp').read_bytes()
    (folder / 'cut.webp').write_bytes(whole[:-20])
    return folder


def test_folder_is_indexed_reported_and_previewed(folder, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(PIPELINE.format(config=CONFIG))
    searcher = TextVideoSearcher(config)
    report = searcher.index(folder, into=tmp_path / 'index', progress=False)
    reasons = {Path(file).name: why for file, why in report.unreadable.items()}
    assert set(reasons) == {'still.webp', 'cut.webp'}
    assert 'an image, not a video' in reasons['still.webp']
    assert 'cut off' in reasons['cut.webp']
    found = searcher.search('a red circle', top_k=4)
    assert {Path(hit.path).name for hit in found} == {
        'moving.gif',
        'moving.webp',
    }

    app = create_app(searcher, 'animations', tmp_path / 'cache')
    with TestClient(app, base_url='http://127.0.0.1:8000') as client:
        key = FileEntry(str(folder / 'moving.webp'), '').key
        preview = client.get(f'/preview/{key}?t=0')
    assert preview.status_code == 200
    with av.open(io.BytesIO(preview.content)) as container:
        shown = [
            frame.to_ndarray(format='rgb24').mean((0, 1)).argmax()
            for frame in container.decode(video=0)
        ]
    assert shown[0] == 0
    assert {1, 2} <= set(shown)
