"""Kinds of H.264 files: encodings, containers, streams and cuts."""

from typing import Any

from benchmarks.video_fuzz.odd_videos import (
    change_of_size,
    cover,
    sound_first,
    two_streams,
)
from benchmarks.video_fuzz.video_kind import (
    B_FRAMES,
    GOP12,
    Kind,
    derive,
    plain,
)

VFR = [0, 1, 2, 5, 9, 10, 11, 20, 21, 30, *range(31, 61), *range(70, 110, 2)]
H264_MP4 = plain('H.264, B-frames, long GOP', 'h264.mp4', options=B_FRAMES)


def _shift(packets: list[Any], by: int) -> list[Any]:
    for packet in packets:
        packet.pts += by
        if packet.dts is not None:
            packet.dts += by
    return packets


H264_KINDS = [
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
    derive(
        'H.264, cut by an edit list',
        'h264_edit.mp4',
        lambda packets: _shift(packets, -600),
        list(range(15, 60)),
    ),
    derive(
        'H.264, begins at 2 s',
        'h264_late.mp4',
        lambda packets: _shift(packets, 2000),
        list(range(60)),
    ),
    derive(
        'H.264, begins at 2 s',
        'h264_late.mkv',
        lambda packets: _shift(packets, 2000),
        list(range(60)),
    ),
    derive(
        'H.264, begins between keyframes',
        'h264_tail.ts',
        lambda packets: packets[5:],
        list(range(12, 60)),
        {**GOP12, 'x264-params': 'repeat-headers=1'},
    ),
    Kind('H.264, size changes', 'h264_size.ts', change_of_size),
    Kind('H.264, second stream is best', 'two_streams.mp4', two_streams),
    Kind('H.264, sound first', 'sound_first.mp4', sound_first),
    Kind('H.264, cover picture', 'cover.mp4', lambda p: cover(p, True)),
]
