"""Kinds of files for which FFmpeg's program is needed, where it is installed.

PyAV's FFmpeg has no encoder of Theora, and two passes, without which libvpx
hides no frames, cannot be had through PyAV.
"""

import shutil
import subprocess
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

from benchmarks.video_fuzz.stamped_videos import HEIGHT, RATE, WIDTH, draw
from benchmarks.video_fuzz.video_kind import Kind

PROGRAM = shutil.which('ffmpeg')
NUMBERS = range(60)


def _run(options: list[str]) -> None:
    pictures = b''.join(draw(number).tobytes() for number in NUMBERS)
    source = ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-r', str(RATE)]
    source += ['-s', f'{WIDTH}x{HEIGHT}', '-i', '-']
    subprocess.run(
        [PROGRAM, '-v', 'error', '-y', *source, '-pix_fmt', 'yuv420p']
        + options,
        input=pictures,
        check=True,
    )


def program(name: str, file: str, options: str, passes: int = 1) -> Kind:
    """Describe a file that FFmpeg's program makes.

    Args:
        name: What it is called in the table.
        file: Name of the file.
        options: Of the encoder.
        passes: 1 or 2.

    Returns:
        The kind.
    """

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
