"""Kinds of video files that people have, to be made on the spot."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from benchmarks.video_fuzz.special import (
    TABLES,
    TRACK,
    change_box,
    change_of_size,
    cover,
    find_box,
    join,
    make_box,
    set_edits,
    set_matrix,
    sound_first,
    sound_only,
    split_boxes,
    timecode_and_text,
    transport,
    two_descriptions,
    two_programs,
    two_streams,
    with_exif,
    write_fields,
)
from benchmarks.video_fuzz.stamped import (
    B_FRAMES,
    GOP12,
    HEIGHT,
    RATE,
    SHARP,
    WIDTH,
    Encoding,
    copy_packets,
    draw,
    write_video,
)


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
        mirrored: Whether left and right are then to be swapped.
    """

    name: str
    file: str
    make: Callable[[Path], list[int]]
    turn: int = 0
    mirrored: bool = False


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


def derive(
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


# FFmpeg's muxer shifts the first frame by two frames, for the B-frames.
BEGIN = 2 / 25
FRAGMENTS = 'frag_keyframe+empty_moov+default_base_moof'
WHOLE = list(range(60))


def edited(
    name: str,
    file: str,
    edits: list[tuple[float, float, int]],
    numbers: list[int],
    movflags: str = '',
) -> Kind:
    """Describe a file with an edit list, see ``set_edits``.

    Without ``numbers`` it is to be refused.
    """

    def make(path: Path) -> list[int]:
        container = {'movflags': movflags} if movflags else None
        write_video(path, Encoding(options=GOP12), container)
        shifted = [
            (seconds, begin if begin == -1 else begin + BEGIN, speed)
            for seconds, begin, speed in edits
        ]
        set_edits(path, shifted)
        return numbers

    return Kind(name, file, make)


def turned(
    name: str,
    file: str,
    matrix: tuple[int, int, int, int],
    turn: int,
    mirrored: bool,
) -> Kind:
    """Describe a file with a display matrix."""

    def make(path: Path) -> list[int]:
        numbers = write_video(path, Encoding(options=GOP12))
        set_matrix(path, *matrix)
        return numbers

    return Kind(name, file, make, turn, mirrored)


TWO_PARTS = edited(
    'H.264, edits: two parts',
    'edit_two.mp4',
    [(0.8, 0, 1), (0.8, 1.6, 1)],
    [*range(20), *range(40, 60)],
)


def behind_empty_track(path: Path) -> list[int]:
    """Two parts, behind a track in which nothing is."""
    TWO_PARTS.make(path)
    data = path.read_bytes()
    track = find_box(data, TRACK)
    for name in ('stts', 'ctts', 'stss', 'stsc', 'stco'):
        track = change_box(track, (*TABLES[2:], name), lambda _: bytes(8))
    track = change_box(track, (*TABLES[2:], 'stsz'), lambda _: bytes(12))
    track = change_box(
        track,
        ('tkhd',),
        lambda head: head[:12] + bytes([0, 0, 0, 9]) + head[16:],
    )

    def change(index: bytes) -> bytes:
        boxes = split_boxes(index)
        boxes.insert(1, ('trak', track))
        return b''.join(make_box(*box) for box in boxes)

    path.write_bytes(change_box(data, TRACK[:1], change))
    return []


EDITED_KINDS = [
    edited(
        'H.264, edits: a pause first',
        'edit_pause.mp4',
        [(0.5, -1, 1), (2.4, 0, 1)],
        WHOLE,
    ),
    TWO_PARTS,
    Kind(
        'H.264, edits: two parts, behind an empty track',
        'edit_two_second.mp4',
        behind_empty_track,
    ),
    edited(
        'H.264, edits: parts between keyframes',
        'edit_middle.mp4',
        [(1, 0.2, 1), (0.4, 1.6, 1)],
        [*range(5, 30), *range(40, 50)],
    ),
    edited(
        'H.264, edits: parts the other way round',
        'edit_back.mp4',
        [(0.8, 1.6, 1), (0.8, 0, 1)],
        [*range(40, 60), *range(20)],
    ),
    edited(
        'H.264, edits: a part twice',
        'edit_twice.mp4',
        [(1, 0, 1), (1, 0, 1)],
        [*range(25), *range(25)],
    ),
    edited(
        'H.264, edits: begins before the first picture',
        'edit_before.mp4',
        [(2.4, -BEGIN / 2, 1)],
        list(range(59)),
    ),
    edited(
        'H.264, edits: a pause between pictures',
        'edit_gap.mp4',
        [(0.8, 0, 1), (0.4, -1, 1), (0.8, 0.8, 1)],
        [],
    ),
    edited(
        'H.264, edits: a picture that is held',
        'edit_held.mp4',
        [(1, 0.4, 0), (1.6, 0.8, 1)],
        [],
    ),
    edited('H.264, edits: another speed', 'edit_fast.mp4', [(1.2, 0, 2)], []),
    edited(
        'H.264, edits: a pause of no length',
        'edit_no_pause.mp4',
        [(2.4, 0, 1), (0, -1, 1)],
        WHOLE,
    ),
    edited(
        'H.264, fragmented, edits: the whole',
        'edit_fragments.mp4',
        [(0, 0, 1)],
        WHOLE,
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: two parts',
        'edit_fragments_two.mp4',
        [(0.8, 0, 1), (0.8, 1.6, 1)],
        [],
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: the end',
        'edit_fragments_end.mp4',
        [(0, 1.2, 1)],
        [],
        FRAGMENTS,
    ),
    edited(
        'H.264, fragmented, edits: the beginning',
        'edit_fragments_begin.mp4',
        [(1.2, 0, 1)],
        [],
        FRAGMENTS,
    ),
    turned('H.264, mirrored', 'mirrored.mp4', (-1, 0, 0, 1), 0, True),
    turned('H.264, upside down', 'upside_down.mp4', (1, 0, 0, -1), 180, True),
    turned('H.264, mirrored, turned', 'mirror_90.mp4', (0, 1, 1, 0), 90, True),
    turned(
        'H.264, mirrored, turned', 'mirror_270.mp4', (0, -1, -1, 0), 270, True
    ),
    Kind('Motion JPEG, EXIF', 'exif.mov', lambda path: with_exif(path, 1)),
    Kind(
        'Motion JPEG, EXIF: mirrored, turned',
        'exif_mirror.avi',
        lambda path: with_exif(path, 5),
        90,
        True,
    ),
]


REPEATED = {**GOP12, 'x264-params': 'repeat-headers=1'}


def _changes() -> Iterator[Kind]:
    hevc = {'x265-params': 'keyint=12:crf=18:repeat-headers=1'}
    mpeg2 = {**SHARP, 'bf': '2'}
    for name, file, codec, options in (
        ('H.264, size changes', 'h264_size.mkv', 'libx264', REPEATED),
        ('H.264, size changes', 'h264_size.mp4', 'libx264', REPEATED),
        ('HEVC, size changes', 'hevc_size.mkv', 'libx265', hevc),
        ('HEVC, size changes', 'hevc_size.mp4', 'libx265', hevc),
        ('VP9, size changes', 'vp9_size.webm', 'libvpx-vp9', {'b': '2M'}),
        ('MPEG-2, size changes', 'mpeg2_size.mpg', 'mpeg2video', mpeg2),
        ('MPEG-2, size changes', 'mpeg2_size.ts', 'mpeg2video', mpeg2),
    ):
        yield Kind(
            name,
            file,
            lambda path, codec=codec, options=options: join(
                path, codec, (options, options)
            ),
        )


# 2 ** 33 ticks of 90 kHz, after which the clock of a transport stream begins
# anew, are a little more than this many frames.
CLOCK = 2**33 // 3600
JOINED_KINDS = [
    *_changes(),
    Kind('H.264, settings change', 'two_settings.mp4', two_descriptions),
    Kind('H.264, time begins anew', 'h264_anew.ts', transport(0, 0)),
    Kind('H.264, time jumps ahead', 'h264_ahead.ts', transport(0, 90000)),
    Kind('H.264, time jumps back', 'h264_back.ts', transport(250, 30)),
    Kind('H.264, clock overflows', 'h264_clock.ts', transport(CLOCK - 30)),
]


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
    _few('two.mp4', [7, 9]),
    _few('two.mkv', [7, 9], 'libx265'),
    _few('two.flv', [7, 9]),
    _few('two.avi', [7, 9], 'mpeg4'),
    _few('two.mpg', [7, 9], 'mpeg2video'),
]


PROGRAM = shutil.which('ffmpeg')
NUMBERS = range(60)


def _run(options: list[str]) -> None:
    pictures = b''.join(draw(number).tobytes() for number in NUMBERS)
    source = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-r', str(RATE)]
    source += ['-s', f'{WIDTH}x{HEIGHT}', '-i', '-']
    subprocess.run(
        [
            PROGRAM,
            '-v',
            'error',
            '-y',
            *source,
            '-pix_fmt',
            'yuv420p',
            *options,
        ],
        input=pictures,
        check=True,
    )


def program(name: str, file: str, options: str, passes: int = 1) -> Kind:
    """Describe a file that FFmpeg's program makes."""

    def make(path: Path) -> list[int]:
        log = path.with_name(f'log-of-{path.stem}')
        for number in range(1, passes + 1):
            two = ['-pass', str(number), '-passlogfile', str(log)]
            _run([*options.split(), *two * (passes > 1), str(path)])
        for left in path.parent.glob(f'{log.name}*'):
            left.unlink()
        return list(NUMBERS)

    return Kind(name, file, make)


def _take_apart(source: Path, target: Path) -> None:
    """Give hidden frames of VP9 packets of their own."""
    with (
        av.open(str(source)) as before,
        av.open(str(target), 'w', options={'fflags': '-autobsf'}) as after,
    ):
        stream = before.streams.video[0]
        split = BitStreamFilterContext('vp9_superframe_split', stream)
        copy = after.add_stream_from_template(stream)
        for whole in before.demux(stream):
            begin = whole.pts
            parts = split.filter(whole if whole.size else None)
            for place, part in enumerate(parts):
                # The last one is shown.
                part.pts = part.dts = begin - len(parts) + 1 + place
                part.stream = copy
                after.mux(part)


def _hidden_apart(path: Path) -> list[int]:
    source = path.with_name(f'source-of-{path.name}')
    numbers = HIDDEN_VP9.make(source)
    _take_apart(source, path)
    source.unlink()
    return numbers


HIDDEN = '-b:v 1M -auto-alt-ref 1 -lag-in-frames 16 -g 30'
HIDDEN_VP9 = program(
    'VP9, hidden frames', 'vp9_hidden.webm', f'-c:v libvpx-vp9 {HIDDEN}', 2
)
_KINDS = [
    program('Theora', 'theora.ogv', '-c:v libtheora -q:v 9'),
    program('Theora', 'theora.mkv', '-c:v libtheora -q:v 9'),
    program(
        'VP8, hidden frames', 'vp8_hidden.webm', f'-c:v libvpx {HIDDEN}', 2
    ),
    HIDDEN_VP9,
    Kind('VP9, hidden frames apart', 'vp9_apart.webm', _hidden_apart),
    program(
        'AV1, frames shown later',
        'av1_aom.mkv',
        '-c:v libaom-av1 -cpu-used 8 -b:v 1M -g 30',
    ),
]
PROGRAM_KINDS = _KINDS if PROGRAM else []


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
