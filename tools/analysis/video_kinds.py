"""Kinds of video files that people have, to be made on the spot."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from stamped_videos import (
    Encoding,
    add_video,
    copy_packets,
    encode,
    write_video,
)

B_FRAMES = {'g': '250', 'bf': '3', 'crf': '18'}
GOP12 = {'g': '12', 'bf': '3', 'crf': '18'}
SHARP = {'qscale': '2', 'qmin': '2', 'qmax': '4', 'b': '4M'}


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: What it is called in the table.
        file: Name of the file.
        make: Writes it; returns the numbers of the frames in the order in
            which they are shown, or an empty list for a file of which nothing
            can be decoded.
        turn: Degrees, clockwise, by which it is to be shown turned.
    """

    name: str
    file: str
    make: Callable[[Path], list[int]]
    turn: int = 0


def plain(
    name: str,
    file: str,
    codec: str = 'libx264',
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    container_format: str | None = None,
    **encoding: Any,
) -> Kind:
    """Describe a file that one encoder and one muxer make."""
    settings = Encoding(codec, options=options or {}, **encoding)
    return Kind(
        name,
        file,
        lambda path: write_video(path, settings, container, container_format),
        settings.turn,
    )


def _derive(
    name: str,
    file: str,
    change: Callable[[list[Any]], list[Any]],
    numbers: list[int],
    options: dict[str, str] | None = None,
    codec: str = 'libx264',
) -> Kind:
    """Describe a file whose packets are those of another, changed."""

    def make(path: Path) -> list[int]:
        source = path.with_name(f'source-of-{path.stem}.mkv')
        write_video(source, Encoding(codec, options=options or GOP12))
        copy_packets(source, path, change)
        source.unlink()
        return numbers

    return Kind(name, file, make)


def _shift(packets: list[Any], by: int) -> list[Any]:
    for packet in packets:
        packet.pts += by
        if packet.dts is not None:
            packet.dts += by
    return packets


def _two_streams(path: Path) -> list[int]:
    """The best stream second, behind a small one with other numbers."""
    from av.stream import Disposition

    small = Encoding(
        options={**GOP12, 'crf': '40'},
        size=(96, 80),
        numbers=range(1000, 1060),
    )
    best = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        pairs = [(add_video(container, e), e) for e in (small, best)]
        pairs[0][0].disposition = Disposition(0)
        pairs[1][0].disposition = Disposition.default
        for stream, encoding in pairs:
            for packet in encode(stream, encoding):
                container.mux(packet)
    return list(best.numbers)


def _sound_first(path: Path) -> list[int]:
    encoding = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        sound = container.add_stream('aac', rate=16000)
        stream = add_video(container, encoding)
        _mux_sound(container, sound)
        for packet in encode(stream, encoding):
            container.mux(packet)
    return list(encoding.numbers)


def _mux_sound(container: Any, sound: Any, seconds: float = 2.4) -> None:
    samples = np.zeros((1, int(16000 * seconds)), np.float32)
    frame = av.AudioFrame.from_ndarray(samples, 'fltp', 'mono')
    frame.sample_rate, frame.pts = 16000, 0
    fifo = av.AudioFifo()
    fifo.write(frame)
    for part in fifo.read_many(1024, partial=True):
        container.mux(sound.encode(part))
    container.mux(sound.encode())


def _sound_only(path: Path) -> list[int]:
    with av.open(str(path), 'w') as container:
        _mux_sound(container, container.add_stream('aac', rate=16000))
    return []


def _cover(path: Path, with_video: bool) -> list[int]:
    """A picture beside the video, or beside sound alone."""
    from av.stream import Disposition

    encoding = Encoding(options=GOP12)
    picture = Encoding('mjpeg', 'yuvj420p', size=(640, 480), numbers=[999])
    with av.open(str(path), 'w') as container:
        streams = []
        if with_video:
            streams.append((add_video(container, encoding), encoding))
        else:
            sound = container.add_stream('aac', rate=16000)
        streams.append((add_video(container, picture), picture))
        streams[-1][0].disposition = Disposition.attached_pic
        if not with_video:
            _mux_sound(container, sound)
        for stream, what in streams:
            for packet in encode(stream, what):
                container.mux(packet)
    return list(encoding.numbers) if with_video else []


def _change_of_size(path: Path) -> list[int]:
    """Two encodings, one behind the other, as a recorder leaves them."""
    parts = []
    for numbers, size in ((range(30), (176, 144)), (range(30, 60), (128, 96))):
        part = io.BytesIO()
        first = numbers[0]
        encoding = Encoding(
            options=GOP12,
            size=size,
            numbers=numbers,
            ticks=range(first, first + 30),
        )
        with av.open(part, 'w', 'mpegts') as container:
            stream = add_video(container, encoding)
            for packet in encode(stream, encoding):
                container.mux(packet)
        parts.append(part.getvalue())
    path.write_bytes(b''.join(parts))
    return list(range(60))


def _cut_bytes(kind: Kind, share: float) -> Callable[[Path], list[int]]:
    def make(path: Path) -> list[int]:
        kind.make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return []

    return make


def _write(content: bytes) -> Callable[[Path], list[int]]:
    def make(path: Path) -> list[int]:
        path.write_bytes(content)
        return []

    return make


VFR = [0, 1, 2, 5, 9, 10, 11, 20, 21, 30, *range(31, 61), *range(70, 110, 2)]
H264_MP4 = plain('H.264, B-frames, long GOP', 'h264.mp4', options=B_FRAMES)
KINDS = [
    H264_MP4,
    plain('H.264, short closed GOPs', 'h264_gop12.mp4', options=GOP12),
    plain(
        'H.264, open GOPs',
        'h264_open.mp4',
        options={**GOP12, 'x264-params': 'open-gop=1'},
    ),
    plain(
        'H.264, open GOPs',
        'h264_open.mkv',
        options={**GOP12, 'x264-params': 'open-gop=1'},
    ),
    plain(
        'H.264, intra refresh',
        'h264_refresh.mp4',
        options={'g': '12', 'x264-params': 'intra-refresh=1'},
    ),
    plain(
        'H.264, pyramid of B-frames',
        'h264_pyramid.mp4',
        options={**B_FRAMES, 'bf': '7', 'x264-params': 'b-pyramid=normal'},
    ),
    plain('H.264, no B-frames', 'h264_p.mp4', options={'g': '25', 'bf': '0'}),
    plain('H.264, all keyframes', 'h264_intra.mp4', options={'g': '1'}),
    plain(
        'H.264, interlaced',
        'h264_interlaced.mp4',
        options={**GOP12, 'x264-params': 'interlaced=1'},
    ),
    plain(
        'H.264, interlaced',
        'h264_interlaced.mts',
        options={**GOP12, 'x264-params': 'interlaced=1'},
        container_format='mpegts',
    ),
    plain(
        'H.264, slices', 'h264_slices.mp4', options={**GOP12, 'slices': '4'}
    ),
    plain(
        'H.264, 10 bit', 'h264_10bit.mp4', options=GOP12, pix_fmt='yuv420p10le'
    ),
    plain('H.264, 4:4:4', 'h264_444.mp4', options=GOP12, pix_fmt='yuv444p'),
    plain(
        'H.264, full range', 'h264_full.mp4', options=GOP12, pix_fmt='yuvj420p'
    ),
    plain('H.264, RGB', 'h264_rgb.mp4', 'libx264rgb', GOP12, pix_fmt='rgb24'),
    plain(
        'H.264, odd size',
        'h264_odd.mp4',
        options=GOP12,
        size=(177, 145),
        pix_fmt='yuv444p',
    ),
    plain(
        'H.264, cropped', 'h264_cropped.mp4', options=GOP12, size=(178, 146)
    ),
    plain('H.264, 48 wide', 'h264_48.mp4', options=GOP12, size=(48, 64)),
    plain('H.264, turned by 90', 'h264_90.mp4', options=GOP12, turn=90),
    plain('H.264, turned by 180', 'h264_180.mp4', options=GOP12, turn=180),
    plain('H.264, turned by 270', 'h264_270.mov', options=GOP12, turn=270),
    plain('H.264, irregular times', 'h264_vfr.mp4', options=GOP12, ticks=VFR),
    plain('H.264, irregular times', 'h264_vfr.mkv', options=GOP12, ticks=VFR),
    plain('H.264, one frame', 'h264_one.mp4', numbers=[7]),
    plain('H.264, five frames', 'h264_five.mp4', numbers=range(5)),
    plain('H.264', 'h264.mkv', options=GOP12),
    plain('H.264', 'h264.mov', options=GOP12),
    plain('H.264', 'h264.avi', options=GOP12),
    plain('H.264', 'h264.flv', options=GOP12),
    plain('H.264', 'h264.ts', options=GOP12),
    plain('H.264', 'h264.m2ts', options=GOP12, container_format='mpegts'),
    plain('H.264', 'h264.3gp', options={'g': '25', 'bf': '0'}),
    plain('H.264, no container', 'h264.h264', options=GOP12),
    plain(
        'H.264, fragmented',
        'h264_fragmented.mp4',
        options=GOP12,
        container={'movflags': 'frag_keyframe+empty_moov'},
    ),
    plain(
        'H.264, written to a pipe',
        'h264_live.mkv',
        options=GOP12,
        container={'live': '1'},
    ),
    _derive(
        'H.264, cut by an edit list',
        'h264_edit.mp4',
        lambda packets: _shift(packets, -600),
        list(range(15, 60)),
    ),
    _derive(
        'H.264, begins at 2 s',
        'h264_late.mp4',
        lambda packets: _shift(packets, 2000),
        list(range(60)),
    ),
    _derive(
        'H.264, begins at 2 s',
        'h264_late.mkv',
        lambda packets: _shift(packets, 2000),
        list(range(60)),
    ),
    _derive(
        'H.264, begins between keyframes',
        'h264_tail.ts',
        lambda packets: packets[5:],
        list(range(12, 60)),
        {**GOP12, 'x264-params': 'repeat-headers=1'},
    ),
    Kind('H.264, size changes', 'h264_size.ts', _change_of_size),
    Kind('H.264, second stream is best', 'two_streams.mp4', _two_streams),
    Kind('H.264, sound first', 'sound_first.mp4', _sound_first),
    Kind('H.264, cover picture', 'cover.mp4', lambda p: _cover(p, True)),
    plain('HEVC', 'hevc.mp4', 'libx265', {'x265-params': 'keyint=12:crf=18'}),
    plain('HEVC', 'hevc.mkv', 'libx265', {'x265-params': 'keyint=12:crf=18'}),
    plain('HEVC', 'hevc.ts', 'libx265', {'x265-params': 'keyint=12:crf=18'}),
    plain(
        'HEVC, closed GOPs',
        'hevc_closed.mp4',
        'libx265',
        {'x265-params': 'keyint=12:open-gop=0:crf=18'},
    ),
    plain(
        'HEVC, temporal layers',
        'hevc_layers.mp4',
        'libx265',
        {'x265-params': 'keyint=24:temporal-layers=3:open-gop=0:crf=18'},
    ),
    plain(
        'HEVC, 10 bit',
        'hevc_10bit.mkv',
        'libx265',
        {'x265-params': 'keyint=12:crf=18'},
        pix_fmt='yuv420p10le',
    ),
    plain('AV1', 'av1.mp4', 'libsvtav1', {'preset': '12', 'g': '24'}),
    plain('AV1', 'av1.webm', 'libsvtav1', {'preset': '12', 'g': '24'}),
    plain(
        'VP8, hidden frames',
        'vp8.webm',
        'libvpx',
        {
            'b': '1M',
            'auto-alt-ref': '1',
            'lag-in-frames': '16',
            'g': '30',
            'arnr-maxframes': '5',
        },
    ),
    plain(
        'VP9, hidden frames',
        'vp9.webm',
        'libvpx-vp9',
        {'b': '1M', 'auto-alt-ref': '1', 'lag-in-frames': '16', 'g': '30'},
    ),
    plain('VP9', 'vp9.mp4', 'libvpx-vp9', {'b': '1M', 'g': '30'}),
    plain(
        'VP9, alpha',
        'vp9_alpha.webm',
        'libvpx-vp9',
        {'b': '1M', 'g': '30', 'auto-alt-ref': '0'},
        pix_fmt='yuva420p',
    ),
    plain('MPEG-4, B-frames', 'mpeg4_b.mp4', 'mpeg4', {**SHARP, 'bf': '2'}),
    plain('MPEG-4, B-frames', 'mpeg4_b.avi', 'mpeg4', {**SHARP, 'bf': '2'}),
    plain('MPEG-4, B-frames', 'mpeg4_b.mkv', 'mpeg4', {**SHARP, 'bf': '2'}),
    plain('MPEG-4', 'mpeg4.avi', 'mpeg4', SHARP),
    plain('MPEG-4', 'mpeg4.3gp', 'mpeg4', SHARP),
    plain('MPEG-1', 'mpeg1.mpg', 'mpeg1video', {**SHARP, 'bf': '2'}),
    plain('MPEG-2', 'mpeg2.mpg', 'mpeg2video', {**SHARP, 'bf': '2'}),
    plain('MPEG-2', 'mpeg2.ts', 'mpeg2video', {**SHARP, 'bf': '2'}),
    plain('MPEG-2', 'mpeg2.mkv', 'mpeg2video', {**SHARP, 'bf': '2'}),
    plain(
        'MPEG-2, interlaced',
        'mpeg2_interlaced.mpg',
        'mpeg2video',
        {**SHARP, 'bf': '2', 'flags': '+ildct+ilme'},
    ),
    plain('H.263', 'h263.3gp', 'h263', {'b': '8M', 'qmax': '3', 'g': '1'}),
    plain('MS-MPEG-4', 'msmpeg4.avi', 'msmpeg4', SHARP),
    plain('WMV 1', 'wmv1.wmv', 'wmv1', SHARP, container_format='asf'),
    plain('WMV 2', 'wmv2.wmv', 'wmv2', SHARP, container_format='asf'),
    plain('WMV 2', 'wmv2.asf', 'wmv2', SHARP),
    plain('Sorenson', 'flv1.flv', 'flv', SHARP),
    plain('Motion JPEG', 'mjpeg.avi', 'mjpeg', SHARP, pix_fmt='yuvj420p'),
    plain('Motion JPEG', 'mjpeg.mov', 'mjpeg', SHARP, pix_fmt='yuvj420p'),
    plain('ProRes', 'prores.mov', 'prores_ks', pix_fmt='yuv422p10le'),
    plain('FFV1', 'ffv1.mkv', 'ffv1'),
    plain('HuffYUV', 'huffyuv.avi', 'huffyuv', pix_fmt='yuv422p'),
    plain('raw video', 'raw.avi', 'rawvideo'),
    plain('PNG', 'png.mov', 'png', pix_fmt='rgb24'),
    plain('GIF', 'animation.gif', 'gif', pix_fmt='rgb8'),
    Kind('empty', 'empty.mp4', _write(b'')),
    Kind('text', 'text.mp4', _write(b'no video at all\n' * 500)),
    Kind('a web page', 'page.mp4', _write(b'<!DOCTYPE html><html>404' * 99)),
    Kind('sound only', 'sound.m4a', _sound_only),
    Kind('sound with a cover', 'song.mp4', lambda p: _cover(p, False)),
    Kind('cut off', 'cut.mp4', _cut_bytes(H264_MP4, 0.6)),
    Kind('head only', 'head.mp4', _cut_bytes(H264_MP4, 0.01)),
    Kind(
        'cut off, index first',
        'cut_index_first.mp4',
        _cut_bytes(
            plain(
                '',
                '',
                options=GOP12,
                container={'movflags': 'faststart'},
            ),
            0.6,
        ),
    ),
]
