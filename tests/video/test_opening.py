"""Names and contents that FFmpeg takes for something else."""

import shutil

import av
import numpy as np
import pytest

from mmtvr.datasets.readers import get_reader
from mmtvr.video import UnreadableVideoError
from mmtvr.video.inspection import inspect_video
from mmtvr.video.opening import open_video


@pytest.mark.parametrize('reader', ['auto', 'pyav', 'decord'])
@pytest.mark.parametrize(
    'name',
    ['a:b.mp4', 'http:x.mp4', 'concat:y|z', '-i.mp4', 'per%03dcent.mp4'],
)
def test_any_name_is_that_of_a_file(
    tiny_videos, tmp_path, monkeypatch, reader, name
):
    source = tiny_videos / 'videos' / 'video3.mp4'
    shutil.copy(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with get_reader(reader)(name) as named, get_reader(reader)(source) as same:
        assert named.path == name
        np.testing.assert_array_equal(
            named.get_frames([4, 0]), same.get_frames([4, 0])
        )
    assert inspect_video(name)['codec'] == 'h264'


@pytest.mark.parametrize('reader', ['auto', 'pyav', 'decord'])
def test_unknown_format_is_unreadable(tiny_videos, tmp_path, reader):
    content = (tiny_videos / 'videos' / 'video3.mp4').read_bytes()
    path = tmp_path / 'unknown.mp4'
    path.write_bytes(content.replace(b'avc1', b'zzzz'))
    with pytest.raises(UnreadableVideoError, match=r'unknown\.mp4'):
        get_reader(reader)(path).get_frames([0])
    with pytest.raises(UnreadableVideoError, match='format is unknown'):
        inspect_video(str(path))


def test_title_may_be_in_any_encoding(tiny_videos, tmp_path):
    path = tmp_path / 'titled.mkv'
    with (
        av.open(str(tiny_videos / 'videos' / 'video3.mp4')) as source,
        av.open(str(path), 'w') as target,
    ):
        target.metadata['title'] = 'TITLE'
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            packet.stream = stream
            if packet.size:
                target.mux(packet)
    path.write_bytes(path.read_bytes().replace(b'TITLE', b'T\xe9\xe8\xffE'))
    assert get_reader('auto')(path).get_frames([0]).shape[0] == 1


@pytest.mark.parametrize(
    ('version', 'expected'),
    [('18.1.0', dict(metadata_errors='ignore')), ('19.0.2', {})],
)
def test_pyav_gets_only_arguments_that_it_has(monkeypatch, version, expected):
    asked = []
    monkeypatch.setattr(av, '__version__', version)
    monkeypatch.setattr(
        av, 'open', lambda path, options, **rest: asked.append(rest)
    )
    with pytest.raises(AttributeError):
        open_video('video.mp4')
    assert asked == [expected]
