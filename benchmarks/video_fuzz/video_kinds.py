"""Kinds of video files that people have, to be made on the spot."""

import re
from collections.abc import Callable
from pathlib import Path

import av

from benchmarks.video_fuzz.edited_videos import EDITED_KINDS, FRAGMENTS
from benchmarks.video_fuzz.h264_kinds import H264_KINDS, H264_MP4
from benchmarks.video_fuzz.joined_videos import JOINED_KINDS
from benchmarks.video_fuzz.odd_videos import cover, sound_only
from benchmarks.video_fuzz.other_kinds import OTHER_KINDS
from benchmarks.video_fuzz.program_videos import PROGRAM_KINDS
from benchmarks.video_fuzz.video_kind import GOP12, SHARP, Kind, plain


def _cut_bytes(kind: Kind, share: float) -> Callable[[Path], list[int]]:
    def make(path: Path) -> list[int]:
        kind.make(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return []

    return make


def _cut_between_pictures(path: Path) -> list[int]:
    INDEX_FIRST.make(path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    end = packets[40].pos
    path.write_bytes(path.read_bytes()[:end])
    return []


def _cut_between_fragments(path: Path) -> list[int]:
    INDEXED.make(path)
    content = path.read_bytes()
    third = [match.start() for match in re.finditer(b'moof', content)][2]
    path.write_bytes(content[: third - 4])
    return []


def _write(content: bytes) -> Callable[[Path], list[int]]:
    def make(path: Path) -> list[int]:
        path.write_bytes(content)
        return []

    return make


INDEX_FIRST = plain('', '', options=GOP12, container={'movflags': 'faststart'})
H264_AVI = plain('', '', options=GOP12, container_format='avi')
H264_FLV = plain('', '', options=GOP12, container_format='flv')

INDEXED = plain(
    '',
    '',
    options=GOP12,
    container={'movflags': 'global_sidx+' + FRAGMENTS},
)

VP9 = {'b': '1M', 'g': '30', 'deadline': 'realtime', 'cpu-used': '8'}

KINDS = [
    *H264_KINDS,
    *EDITED_KINDS,
    *JOINED_KINDS,
    *OTHER_KINDS,
    *PROGRAM_KINDS,
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
        'VP8',
        'vp8.webm',
        'libvpx',
        {'b': '1M', 'g': '30'},
    ),
    plain('VP9', 'vp9.webm', 'libvpx-vp9', VP9),
    plain('VP9', 'vp9.mp4', 'libvpx-vp9', VP9),
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
    Kind('sound only', 'sound.m4a', sound_only),
    Kind('sound with a cover', 'song.mp4', lambda p: cover(p, False)),
    Kind('cut off', 'cut.mp4', _cut_bytes(H264_MP4, 0.6)),
    Kind('cut off', 'cut.avi', _cut_bytes(H264_AVI, 0.6)),
    Kind('cut off', 'cut.flv', _cut_bytes(H264_FLV, 0.6)),
    Kind('head only', 'head.mp4', _cut_bytes(H264_MP4, 0.01)),
    Kind(
        'cut off, index first',
        'cut_index_first.mp4',
        _cut_bytes(INDEX_FIRST, 0.6),
    ),
    Kind('cut off between pictures', 'cut_between.mp4', _cut_between_pictures),
    Kind(
        'cut off between fragments, indexed',
        'cut_fragments.mp4',
        _cut_between_fragments,
    ),
]
