"""H.264 whose fields are pictures of their own (PAFF), as camcorders write.

No encoder at hand makes it, so the stream is written here, after Rec. ITU-T
H.264: uncompressed macroblocks (I_PCM, 7.3.5) in field pictures.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.video_fuzz.stamped_videos import draw

WIDTH, HEIGHT, GROUP = 176, 128, 12
START = b'\0\0\0\1'


class _Bits:
    """Bits behind each other, see 7.2 and 9.1."""

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
    sequence.ue(WIDTH // 16 - 1, HEIGHT // 32 - 1)
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
    for y in range(HEIGHT // 32):
        for x in range(WIDTH // 16):
            block = header if not data else _Bits()
            data += block.ue(25).to_bytes('')
            for plane, side in zip(rows, (16, 8, 8), strict=True):
                part = plane[y * side :, x * side :][:side, :side]
                data += part.tobytes()
    return _unit(5 if idr else 1, reference, data + b'\x80')


def _fields(numbers: range) -> Iterator[bytes]:
    for index, number in enumerate(numbers):
        place = index % GROUP
        picture = draw(number, WIDTH, HEIGHT)
        frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
        flat = frame.reformat(format='yuv420p').to_ndarray()
        chroma = flat[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
        planes = [flat[:HEIGHT], *chroma]
        for bottom in (False, True):
            begin = _settings() if place == 0 and not bottom else b''
            yield begin + _field(planes, place, bottom)


def write_fields(path: Path, together: bool = False) -> list[int]:
    """Write a file whose frames are two field pictures each.

    Args:
        path: The file; its ending names the container.
        together: Put both fields into one packet.

    Returns:
        The numbers of its frames.
    """
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
            packet.is_keyframe = index % (2 * GROUP) == 0
            target.mux(packet)
    raw.unlink()
    return list(numbers)
