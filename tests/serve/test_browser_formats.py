"""Real files of many formats play in a real browser, or a preview does."""

from pathlib import Path

import pytest

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.app import create_app

pytest.importorskip('selenium')

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = [pytest.mark.browser, pytest.mark.shared]
CONFIG = Path(__file__).parents[2] / 'configs/clip4clip_moving_shapes.py'
# Real files, and whether browsers need a preview of them.
PLAYED = {
    'h264_noB_gop12.mp4': False,
    'vp9.webm': False,
    'start_offset_2s.mp4': False,
    'h264_crf20.mkv': True,
    'hevc_8bit.mp4': True,
    'mjpeg.mov': True,
    'mpeg4_b.mp4': True,
    'mpeg2.mpg': True,
}


def make_config(folder):
    """The model of moving shapes, for videos of any size."""
    path = folder / 'any_size.py'
    path.write_text(
        f"""
_base_ = '{CONFIG}'
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='mmtvr.LoadVideoFrames', num_frames=4, test_mode=True,
         short_side=54),
    dict(type='mmaction.Resize', scale=(-1, 54)),
    dict(type='mmaction.CenterCrop', crop_size=54),
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TokenizeText', tokenizer='mmtvr://moving-shapes-clip',
         max_words=24),
    dict(type='mmtvr.PackTextVideo')]))
"""
    )
    return path


@pytest.fixture(scope='module')
def formats(shared_dir, serving, tmp_path_factory):
    """Where real files of many formats are served, and the files."""
    folder = tmp_path_factory.mktemp('formats')
    files = [shared_dir / 'clips/stress' / name for name in PLAYED]
    searcher = TextVideoSearcher(make_config(folder))
    searcher.index(files, into=folder / 'index', progress=False)
    app = create_app(searcher, 'formats', folder / 'cache')
    with serving(app) as address:
        yield address, files


@pytest.mark.parametrize('name', list(PLAYED))
def test_files_of_every_format_play_from_a_moment(chromium, formats, name):
    address, files = formats
    file = next(each for each in files if each.name == name)
    key = FileEntry(str(file), '').key
    chromium.get(f'{address}/watch/{key}?t=2.5&q=')
    wait = WebDriverWait(chromium, 15, 0.05).until
    video = chromium.find_element(By.TAG_NAME, 'video')
    wait(lambda _: video.get_property('readyState') >= 2)
    is_preview = '/preview/' in video.get_property('currentSrc')
    assert is_preview == PLAYED[name]
    note = chromium.find_element(By.CLASS_NAME, 'preview-note')
    wait(lambda _: note.is_displayed() == is_preview)
    expected = 1.0 if is_preview else 2.5
    assert abs(video.get_property('currentTime') - expected) < 0.05
