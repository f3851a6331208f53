"""Files that one encoder and one muxer do not write.

Several streams, covers, settings that change, gaps in time, edit lists and
display matrices of MP4, EXIF, and H.264 whose fields are pictures of their
own (PAFF), as camcorders write them.
"""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.video_fuzz.stamped import (
    GOP12,
    HEIGHT,
    RATE,
    SHARP,
    WIDTH,
    Encoding,
    add_video,
    copy_packets,
    draw,
    encode,
    write_video,
)

FOREIGN = range(1000, 1060)
HEADER = b"""[Script Info]
[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16
[Events]
Format: Layer, Start, End, Style, Text
"""


def two_streams(path: Path) -> list[int]:
    """The best stream second, behind a small one with other numbers."""
    from av.stream import Disposition

    small = Encoding(
        options={**GOP12, 'crf': '40'},
        size=(96, 80),
        numbers=FOREIGN,
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


def two_programs(path: Path) -> list[int]:
    """The larger of two streams second, in files without bit rates."""
    sharp = {**SHARP, 'bf': '2'}
    encodings = [
        Encoding('mpeg2video', options=sharp, size=(96, 80), numbers=FOREIGN),
        Encoding('mpeg2video', options=sharp),
    ]
    with av.open(str(path), 'w') as container:
        packets = [
            encode(add_video(container, encoding), encoding)
            for encoding in encodings
        ]
        for pair in zip(*packets, strict=True):
            for packet in pair:
                container.mux(packet)
    return list(encodings[1].numbers)


def timecode_and_text(path: Path) -> list[int]:
    """Subtitles are the first track, and a time code is one more."""
    encoding = Encoding(options=GOP12)
    with av.open(str(path), 'w') as container:
        text = container.add_stream('mov_text')
        text.codec_context.subtitle_header = HEADER
        stream = add_video(container, encoding)
        stream.metadata['timecode'] = '01:00:00:00'
        line = av.Packet(b'\0\4text')
        line.stream, line.time_base = text, Fraction(1, RATE)
        line.pts, line.dts, line.duration = 0, 0, 60
        packets = [line, *encode(stream, encoding)]
        for packet in packets:
            container.mux(packet)
    return list(encoding.numbers)


def sound_first(path: Path) -> list[int]:
    """Sound is the first stream."""
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


def sound_only(path: Path) -> list[int]:
    """No video stream."""
    with av.open(str(path), 'w') as container:
        _mux_sound(container, container.add_stream('aac', rate=16000))
    return []


def cover(path: Path, with_video: bool) -> list[int]:
    """A cover beside the video, or beside sound alone."""
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


def change_of_size(path: Path) -> list[int]:
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


HALVES = range(30), range(30, 60)


def _put(target: Any, stream: Any, source: Any, encoding: Encoding) -> None:
    for packet in encode(source, encoding):
        packet.stream = stream
        target.mux(packet)


def join(
    path: Path,
    codec: str,
    options: Sequence[dict[str, str]],
    small: tuple[int, int] = (128, 96),
    pause: int = 0,
) -> list[int]:
    """Write one stream from two encoders, the second ``pause`` ticks later."""
    later = range(30 + pause, 60 + pause)
    first, second = (
        Encoding(codec, options=o, size=size, numbers=half, ticks=ticks)
        for o, size, half, ticks in zip(
            options,
            ((WIDTH, HEIGHT), small),
            HALVES,
            (HALVES[0], later),
            strict=True,
        )
    )
    with av.open(str(path), 'w') as target:
        stream = add_video(target, first)
        _put(target, stream, stream, first)
        with av.open(io.BytesIO(), 'w', 'matroska') as other:
            _put(target, stream, add_video(other, second), second)
    return [*first.numbers, *second.numbers]


def two_descriptions(path: Path) -> list[int]:
    """An MP4 file with the settings of both halves at its head."""
    second = {**GOP12, 'bf': '0', 'refs': '1'}
    numbers = join(path, 'libx264', (GOP12, second), (WIDTH, HEIGHT))
    other = path.with_name(f'source-of-{path.name}')
    with av.open(str(other), 'w') as container:
        encoding = Encoding(options=second, numbers=range(1))
        stream = add_video(container, encoding)
        _put(container, stream, stream, encoding)
    entry = find_box(other.read_bytes(), (*TABLES, 'stsd'))[8:]
    other.unlink()
    data = path.read_bytes()
    sizes = struct.unpack_from('>60I', find_box(data, (*TABLES, 'stsz')), 12)
    place = struct.unpack_from('>I', find_box(data, (*TABLES, 'stco')), 8)[0]
    chunks = struct.pack('>2I6I', 0, 2, 1, 30, 1, 2, 30, 2)
    places = struct.pack('>2I2I', 0, 2, place, place + sum(sizes[:30]))
    for name, change in (
        ('stsd', lambda old: struct.pack('>2I', 0, 2) + old[8:] + entry),
        ('stsc', lambda old: chunks),
        ('stco', lambda old: places),
    ):
        data = change_box(data, (*TABLES, name), change)
    path.write_bytes(data)
    return numbers


def _transport(numbers: range, begin: int) -> bytes:
    part = io.BytesIO()
    ticks = range(begin, begin + len(numbers))
    encoding = Encoding(options=GOP12, numbers=numbers, ticks=ticks)
    with av.open(part, 'w', 'mpegts') as container:
        stream = add_video(container, encoding)
        _put(container, stream, stream, encoding)
    return part.getvalue()


def transport(*begins: int) -> Callable[[Path], list[int]]:
    """A transport stream of parts that begin at given ticks of 1/25 s."""

    def make(path: Path) -> list[int]:
        each = 60 // len(begins)
        parts = [
            _transport(range(each * i, each * (i + 1)), begin)
            for i, begin in enumerate(begins)
        ]
        path.write_bytes(b''.join(parts))
        return list(range(60))

    return make


def with_exif(path: Path, orientation: int) -> list[int]:
    """Motion JPEG with a segment of EXIF in each picture, as of cameras."""
    source = path.with_name(f'source-of-{path.stem}.mov')
    numbers = write_video(source, Encoding('mjpeg', 'yuvj420p', SHARP))
    entry = struct.pack('<HHIHH', 0x112, 3, 1, orientation, 0)
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4)
    segment = b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif

    def insert(packets: list[Any]) -> list[Any]:
        changed = []
        for packet in packets:
            data = bytes(packet)
            new = av.Packet(data[:2] + segment + data[2:])
            new.pts, new.dts = packet.pts, packet.dts
            new.duration = packet.duration
            new.time_base, new.is_keyframe = packet.time_base, True
            changed.append(new)
        return changed

    copy_packets(source, path, insert)
    source.unlink()
    return numbers


# Boxes of MP4. The index of a file must stand behind the frames, as FFmpeg
# puts it, so that its length may change.
Change = Callable[[bytes], bytes]
TRACK = ('moov', 'trak')
TABLES = (*TRACK, 'mdia', 'minf', 'stbl')


def make_box(kind: str, content: bytes) -> bytes:
    """Prefix the content with its length and a name of four letters."""
    return struct.pack('>I4s', len(content) + 8, kind.encode()) + content


def split_boxes(data: bytes) -> list[tuple[str, bytes]]:
    """Split consecutive boxes into names and contents."""
    boxes, place = [], 0
    while place < len(data):
        size, kind = struct.unpack_from('>I4s', data, place)
        boxes.append((kind.decode('latin-1'), data[place + 8 : place + size]))
        place += size
    return boxes


def change_box(data: bytes, path: tuple[str, ...], change: Change) -> bytes:
    """Change the content of the first box at a path of names."""
    boxes = split_boxes(data)
    place = [kind for kind, _ in boxes].index(path[0])
    kind, content = boxes[place]
    if len(path) > 1:
        content = change_box(content, path[1:], change)
    else:
        content = change(content)
    boxes[place] = kind, content
    return b''.join(make_box(*box) for box in boxes)


def find_box(data: bytes, path: tuple[str, ...]) -> bytes:
    """Get the content of the first box at a path."""
    for kind in path:
        data = dict(reversed(split_boxes(data)))[kind]
    return data


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Set the display matrix of a file with one track."""
    matrix = struct.pack(
        '>9i', a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
    )

    def change(header: bytes) -> bytes:
        return header[:40] + matrix + header[76:]

    data = change_box(path.read_bytes(), (*TRACK, 'tkhd'), change)
    path.write_bytes(data)


def set_edits(path: Path, edits: list[tuple[float, float, int]]) -> None:
    """Set the edit list: of each part seconds, start (-1: a pause), speed."""
    data = path.read_bytes()
    whole = struct.unpack_from('>I', find_box(data, ('moov', 'mvhd')), 12)[0]
    header = find_box(data, (*TRACK, 'mdia', 'mdhd'))
    own = struct.unpack_from('>I', header, 12)[0]
    content = struct.pack('>II', 0, len(edits))
    for seconds, begin, rate in edits:
        start = -1 if begin == -1 else round(begin * own)
        content += struct.pack('>Iihh', round(seconds * whole), start, rate, 0)

    def change(track: bytes) -> bytes:
        boxes = [box for box in split_boxes(track) if box[0] != 'edts']
        boxes.insert(1, ('edts', make_box('elst', content)))
        return b''.join(make_box(*box) for box in boxes)

    path.write_bytes(change_box(data, TRACK, change))


# Width and height of frames in fields, and frames of a group.
FIELDS_WIDTH, FIELDS_HEIGHT, FIELDS_GROUP = 176, 128, 12
START = b'\0\0\0\1'


class _Bits:
    """Bits of a stream, written after Rec. ITU-T H.264, 7.2 and 9.1."""

    def __init__(self) -> None:
        self.text = ''

    def u(self, count: int, value: int) -> '_Bits':
        self.text += f'{value:0{count}b}'
        return self

    def ue(self, *values: int) -> '_Bits':
        for value in values:
            code = f'{value + 1:b}'
            self.text += '0' * (len(code) - 1) + code
        return self

    def to_bytes(self, fill: str) -> bytes:
        text = self.text + fill
        text += '0' * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, 'big')


def _unit(kind: int, reference: int, payload: bytes) -> bytes:
    """Keep start codes out of a unit, see 7.4.1."""
    guarded, zeros = bytearray(), 0
    for byte in payload:
        if zeros == 2 and byte < 4:
            guarded.append(3)
            zeros = 0
        guarded.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return START + bytes([reference << 5 | kind]) + bytes(guarded)


def _settings() -> bytes:
    sequence = _Bits().u(8, 77).u(8, 0).u(8, 30)
    # 8 bits for numbers and for the order; one picture to refer to.
    sequence.ue(0, 4, 0, 4, 1).u(1, 0)
    sequence.ue(FIELDS_WIDTH // 16 - 1, FIELDS_HEIGHT // 32 - 1)
    # Not only frames, no pairs of macroblocks, no cropping.
    sequence.u(1, 0).u(1, 0).u(1, 1).u(1, 0).u(1, 0)
    picture = _Bits().ue(0, 0).u(2, 0).ue(0, 0, 0).u(3, 0).ue(0, 0, 0)
    picture.u(1, 1).u(2, 0)
    return _unit(7, 3, sequence.to_bytes('1')) + _unit(
        8, 3, picture.to_bytes('1')
    )


def _field(planes: list[np.ndarray], place: int, bottom: bool) -> bytes:
    """Write one field of the frame at a place of its group."""
    idr = place == 0 and not bottom
    reference = int(place % 2 == 0)
    header = _Bits().ue(0, 7, 0).u(8, (place + 1) // 2).u(1, 1)
    header.u(1, bottom)
    if idr:
        header.ue(0)
    header.u(8, 2 * place + bottom)
    if reference:
        header.u(1 + idr, 0)
    # No change of the quantizer, no deblocking.
    header.ue(0, 1)
    rows = [plane[bottom::2] for plane in planes]
    data = b''
    for y in range(FIELDS_HEIGHT // 32):
        for x in range(FIELDS_WIDTH // 16):
            block = header if not data else _Bits()
            data += block.ue(25).to_bytes('')
            for plane, side in zip(rows, (16, 8, 8), strict=True):
                part = plane[y * side :, x * side :][:side, :side]
                data += part.tobytes()
    return _unit(5 if idr else 1, reference, data + b'\x80')


def _fields(numbers: range) -> Iterator[bytes]:
    for index, number in enumerate(numbers):
        place = index % FIELDS_GROUP
        picture = draw(number, FIELDS_WIDTH, FIELDS_HEIGHT)
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
        flat = frame.reformat(format='yuv420p').to_ndarray()
        chroma = flat[FIELDS_HEIGHT:].reshape(
            2, FIELDS_HEIGHT // 2, FIELDS_WIDTH // 2
        )
        planes = [flat[:FIELDS_HEIGHT], *chroma]
        for bottom in (False, True):
            begin = _settings() if place == 0 and not bottom else b''
            yield begin + _field(planes, place, bottom)


def write_fields(path: Path, together: bool = False) -> list[int]:
    """Write a file whose frames are two field pictures each."""
    numbers = range(60)
    raw = path.with_name(f'source-of-{path.stem}.h264')
    fields = list(_fields(numbers))
    raw.write_bytes(b''.join(fields))
    per_packet = 2 if together else 1
    with av.open(str(raw)) as source, av.open(str(path), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for index in range(0, len(fields), per_packet):
            packet = av.Packet(b''.join(fields[index : index + per_packet]))
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts = packet.dts = index
            packet.duration = per_packet
            packet.is_keyframe = index % (2 * FIELDS_GROUP) == 0
            target.mux(packet)
    raw.unlink()
    return list(numbers)
