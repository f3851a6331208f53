"""Kinds of files beside those of the large table: rarer, shorter, rougher."""

from collections.abc import Callable
from typing import Any

from benchmarks.video_fuzz.field_coded import write_fields
from benchmarks.video_fuzz.odd_videos import timecode_and_text, two_programs
from benchmarks.video_fuzz.video_kind import (
    B_FRAMES,
    GOP12,
    SHARP,
    Kind,
    derive,
    plain,
)

OPEN = {**GOP12, 'bf': '7', 'x264-params': 'open-gop=1:b-pyramid=normal'}
HEVC = {'x265-params': 'keyint=12:crf=18'}
MPEG2 = {**SHARP, 'bf': '2'}
ODD = (177, 145)


def _from_second_keyframe(packets: list[Any]) -> list[Any]:
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    return packets[keys[1] :]


def _tail(name: str, file: str, codec: str, options: dict[str, str]) -> Kind:
    numbers = list(range(12, 60))
    return derive(name, file, _from_second_keyframe, numbers, options, codec)


def _few(
    file: str, numbers: list[int], codec: str = 'libx264', **options: Any
) -> Kind:
    count = {1: 'one frame', 2: 'two frames'}[len(numbers)]
    settings = SHARP if codec in ('mpeg4', 'mpeg2video') else {}
    return plain(count, file, codec, settings, numbers=numbers, **options)


def _fields(together: bool) -> Callable[[Any], list[int]]:
    return lambda path: write_fields(path, together)


OTHER_KINDS = [
    *(
        plain('H.264, open GOPs, pyramid', f'h264_deep.{ending}', options=OPEN)
        for ending in ('mp4', 'mkv', 'ts')
    ),
    *(
        Kind('H.264, fields apart', f'fields.{ending}', _fields(False))
        for ending in ('mp4', 'mkv', 'ts', 'avi')
    ),
    Kind('H.264, fields in one packet', 'fields_pair.mkv', _fields(True)),
    plain(
        'H.264, lower field first',
        'h264_lower.mkv',
        options={**GOP12, 'x264-params': 'bff=1:open-gop=1'},
    ),
    plain(
        'H.264, begins below zero',
        'h264_below.mp4',
        options=GOP12,
        container={'movflags': 'negative_cts_offsets'},
    ),
    _tail('HEVC, begins with an open GOP', 'hevc_tail.mkv', 'libx265', HEVC),
    _tail('HEVC, begins with an open GOP', 'hevc_tail.mp4', 'libx265', HEVC),
    _tail('HEVC, begins with an open GOP', 'hevc_tail.ts', 'libx265', HEVC),
    _tail('H.264, begins with an open GOP', 'h264_tail.mkv', 'libx264', OPEN),
    _tail('H.264, begins with an open GOP', 'h264_tail.mp4', 'libx264', OPEN),
    _tail('MPEG-2, begins with an open GOP', 'm2.mpg', 'mpeg2video', MPEG2),
    *(
        derive(
            'H.264, ends inside a GOP',
            f'h264_short.{ending}',
            lambda packets: packets[:-6],
            [*range(53), 54],
            B_FRAMES,
        )
        for ending in ('mp4', 'mkv', 'ts')
    ),
    *(
        Kind(
            'MPEG-2, second stream is best', f'programs.{ending}', two_programs
        )
        for ending in ('mpg', 'vob', 'ts', 'mkv')
    ),
    Kind('H.264, text and time code', 'text_first.mp4', timecode_and_text),
    Kind('H.264, text and time code', 'text_first.mov', timecode_and_text),
    plain(
        'VP9, odd size', 'vp9_odd.webm', 'libvpx-vp9', {'b': '1M'}, size=ODD
    ),
    plain('VP8, odd size', 'vp8_odd.webm', 'libvpx', {'b': '1M'}, size=ODD),
    plain('MPEG-4, odd size', 'mpeg4_odd.avi', 'mpeg4', SHARP, size=ODD),
    plain('MPEG-2, odd size', 'mpeg2_odd.mpg', 'mpeg2video', SHARP, size=ODD),
    plain('AV1', 'av1.ivf', 'libsvtav1', {'preset': '12', 'g': '24'}),
    plain('AV1', 'av1.avif', 'libsvtav1', {'preset': '12', 'g': '24'}),
    plain('VP9', 'vp9.ivf', 'libvpx-vp9', {'b': '1M', 'g': '30'}),
    plain('HEVC, no container', 'hevc.hevc', 'libx265', HEVC),
    plain('MPEG-2, no container', 'mpeg2.m2v', 'mpeg2video', MPEG2),
    plain(
        'MPEG-4, no container',
        'mpeg4.m4v',
        'mpeg4',
        {**SHARP, 'bf': '2'},
        container_format='m4v',
    ),
    plain('MPEG-2', 'mpeg2.mxf', 'mpeg2video', MPEG2),
    plain('H.264', 'h264.mxf', options=GOP12),
    plain('H.264', 'h264.asf', options=GOP12),
    plain('H.264', 'h264.wtv', options=GOP12),
    plain('DV', 'dv.avi', 'dvvideo', size=(720, 576)),
    plain('DV', 'dv.dv', 'dvvideo', size=(720, 576)),
    plain('Sorenson Video', 'svq1.mov', 'svq1', pix_fmt='yuv410p'),
    plain('Cinepak', 'cinepak.avi', 'cinepak', pix_fmt='rgb24'),
    plain('QuickTime animation', 'qtrle.mov', 'qtrle', pix_fmt='rgb24'),
    plain('CineForm', 'cfhd.mov', 'cfhd', pix_fmt='yuv422p10le'),
    plain('JPEG 2000', 'jpeg2000.mov', 'jpeg2000'),
    plain('Ut Video', 'utvideo.avi', 'utvideo'),
    plain('Flash screen video', 'flashsv.flv', 'flashsv', pix_fmt='bgr24'),
    plain('raw video', 'raw.y4m', 'wrapped_avframe'),
    plain('animated PNG', 'animation.apng', 'apng', pix_fmt='rgb24'),
    _few('one.webm', [7], 'libvpx'),
    _few('one.ts', [7]),
    _few('one.avi', [7], 'mpeg4'),
    _few('one_hevc.mp4', [7], 'libx265'),
    _few('one.gif', [7], 'gif', pix_fmt='rgb8'),
    _few('two.mp4', [7, 9]),
    _few('two.mkv', [7, 9], 'libx265'),
    _few('two.flv', [7, 9]),
    _few('two.avi', [7, 9], 'mpeg4'),
    _few('two.mpg', [7, 9], 'mpeg2video'),
]
