"""Re-encode the videos of a folder to few and small frames, checked.

Each video gets a copy of the same name, H.264 in mp4 whatever the name ends
in, without sound. Sources are only read. A copy appears under its name after
it was read back and compared with its source, and says in its metadata what
it was made of: the command can be stopped and started again.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from tqdm import tqdm

from mmtvr.cli.command import run_command
from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.video_check import thread_map
from mmtvr.errors import SetupError
from mmtvr.files import (
    PARTIAL,
    FileStamp,
    atomic_path,
    find_video_files,
    write_csv,
)
from mmtvr.video import UnreadableVideoError, VideoReader
from mmtvr.video.reader import reduced_size, resize_frames
from mmtvr.video.supervised_reader import supervise

# Time stamps of containers are rounded, to as much as a millisecond.
ROUNDING = 1e-3
TICKS = 90000
MARK = 'mmtvr compress'
BLOCK_BYTES = 2**28
OpenReader = Callable[..., VideoReader]


class LossyCopyError(Exception):
    """A copy that is not what it should be; the message says how."""


class Options(NamedTuple):
    """How copies are made; see the options of the command."""

    fps: float | None = 3.0
    short_side: int | None = 224
    crf: int = 20
    min_psnr: float = 28.0


class Thinned(NamedTuple):
    """Positions of frames in the source, and when they are shown, seconds."""

    indices: np.ndarray
    times: np.ndarray
    durations: np.ndarray

    @property
    def length(self) -> float:
        """Seconds until the end of the last frame."""
        return float(self.times[-1] + self.durations[-1])


def compress_video(
    source: str, target: Path, open_reader: OpenReader, how: Options
) -> None:
    """Write a checked copy of a video, or nothing."""
    note = describe(source, how)
    with open_reader(source, short_side=how.short_side) as reader:
        times = np.asarray(reader.get_times(), np.float64)
        if (np.diff(times) <= 0).any():
            raise UnreadableVideoError(
                f'{source}: the time stamps of its frames do not ascend'
            )
        kept = thin_out(times, frame_durations(times, reader.fps), how.fps)
        shape = reader.original_shape
        # There is one colour for 2 x 2 pixels.
        height, width = reduced_size(shape, how.short_side) or shape
        size = max(height - height % 2, 2), max(width - width % 2, 2)
        with atomic_path(target) as draft:
            frames = read_frames(reader, kept.indices, size)
            write_h264(draft, frames, size, kept, how.crf, note)
            check_copy(draft, reader, kept, size, open_reader, how.min_psnr)
            with open(draft, 'rb') as file:
                os.fsync(file.fileno())


def describe(source: str, how: Options) -> str:
    """What a copy is made of, kept in its metadata to know it again."""
    stamp = FileStamp.of(os.stat(source))
    return json.dumps([MARK, how, stamp.size, stamp.mtime_ns])


def read_note(target: Path) -> str:
    """What :func:`describe` said of a copy; empty for any other file."""
    try:
        with av.open(str(target)) as container:
            return container.metadata.get('comment', '')
    except (OSError, av.error.FFmpegError):
        return ''


def frame_durations(times: np.ndarray, fps: float) -> np.ndarray:
    """Seconds for which frames are shown, the last as long as is usual."""
    gaps = np.diff(times)
    return np.append(gaps, np.median(gaps) if len(gaps) else 1 / (fps or 25))


def thin_out(
    times: np.ndarray, durations: np.ndarray, fps: float | None
) -> Thinned:
    """Choose for output frame k the one that the source shows at k / fps.

    A source that has no more frames per second than that keeps its own.
    """
    every = Thinned(np.arange(len(times)), times, durations)
    length = every.length
    if fps is None or len(times) <= length * fps + ROUNDING:
        return every
    count = max(1, int(np.ceil(length * fps - ROUNDING * fps)))
    at = np.arange(count) / fps
    indices = np.searchsorted(times, at + ROUNDING, side='right') - 1
    return Thinned(indices, at, np.full(count, 1 / fps))


def read_frames(
    reader: VideoReader, indices: np.ndarray, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Read frames of the final size, not all of them at once."""
    block = max(1, BLOCK_BYTES // (3 * size[0] * size[1]))
    for start in range(0, len(indices), block):
        frames = reader.get_frames(indices[start : start + block])
        if frames.shape[1:3] != size:
            frames = resize_frames(frames, size)
        yield from frames


def write_h264(
    path: Path,
    frames: Iterator[np.ndarray],
    size: tuple[int, int],
    kept: Thinned,
    crf: int,
    note: str = '',
) -> None:
    """Encode frames in closed groups, so that jumping decoders do not err."""
    ticks = np.round(kept.times * TICKS).astype(int).tolist()
    ends = np.round((kept.times + kept.durations) * TICKS).astype(int)
    lasting = [end - at for at, end in zip(ticks, ends.tolist(), strict=True)]
    # In mp4 a frame lasts until the next one is decoded: the order must not
    # change unless all last equally. Then readers can skip three of four.
    order = {'bf': '0'}
    if max(lasting[:-1], default=0) - min(lasting[:-1], default=0) <= 1:
        x264 = 'b-adapt=0:b-pyramid=none:open-gop=0'
        order = {'bf': '3', 'x264-params': x264}
    spans = iter(lasting)
    options = dict(movflags='faststart')
    with av.open(str(path), 'w', format='mp4', options=options) as container:
        container.metadata['comment'] = note
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': str(crf), **order}
        context = stream.codec_context
        context.time_base = Fraction(1, TICKS)
        context.thread_count = 1

        def write(frame: av.VideoFrame | None) -> None:
            for packet in stream.encode(frame):
                # The encoder forgets how long the last frame lasts.
                packet.duration = next(spans)
                container.mux(packet)

        for array, at in zip(frames, ticks, strict=True):
            frame = av.VideoFrame.from_ndarray(array, format='rgb24')
            frame = frame.reformat(
                size[1], size[0], 'yuv420p', interpolation='BICUBIC'
            )
            frame.pts, frame.time_base = at, context.time_base
            write(frame)
        write(None)


def check_copy(
    path: Path,
    source: VideoReader,
    kept: Thinned,
    size: tuple[int, int],
    open_reader: OpenReader,
    min_psnr: float,
) -> None:
    """Compare number, times, length, size and three frames with the source."""
    rows = sorted({0, len(kept.indices) // 2, len(kept.indices) - 1})
    expected = list(read_frames(source, kept.indices[rows], size))
    longest = kept.durations.max()
    try:
        with open_reader(str(path)) as copy:
            times = copy.get_times()
            if len(times) != len(kept.indices):
                raise LossyCopyError(
                    f'{len(times)} frames instead of {len(kept.indices)}'
                )
            length = times[-1] + frame_durations(times, copy.fps)[-1]
            if np.abs(times - kept.times).max() > longest / 2:
                raise LossyCopyError('its frames are shown at other times')
            if abs(length - kept.length) > longest:
                raise LossyCopyError(f'{length:.2f} s, not {kept.length:.2f}')
            if copy.original_shape != size:
                raise LossyCopyError(f'{copy.original_shape} pixels')
            frames = copy.get_frames(rows)
    except UnreadableVideoError as error:
        raise LossyCopyError(f'the copy cannot be read: {error}') from error
    for row, frame, wanted in zip(rows, frames, expected, strict=True):
        if (near := psnr(frame, wanted)) < min_psnr:
            raise LossyCopyError(
                f'frame {row} differs from frame {kept.indices[row]} of the '
                f'source: PSNR {near:.1f} dB, expected {min_psnr:g}'
            )


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels, at half the size."""
    half = max(first.shape[1] // 2, 1), max(first.shape[0] // 2, 1)
    first, second = (
        cv2.resize(each, half, interpolation=cv2.INTER_AREA).astype(np.float32)
        for each in (first, second)
    )
    error = np.mean((first - second) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def compress_folder(
    folder: Path, output: Path, how: Options, workers: int, time_limit: float
) -> tuple[int, dict[str, str]]:
    """Compress what has no copy; return the number of videos and problems."""
    problems: dict[str, str] = {}
    found = find_video_files(folder, problems)
    files = sorted(os.path.relpath(path, folder) for path in found)
    if not files:
        raise SetupError(f'there is no video in {folder}')
    for draft in output.rglob(f'*{PARTIAL}'):
        if draft.stat().st_mtime + time_limit + 3600 < time.time():
            draft.unlink()
    open_reader = supervise(get_reader('auto'), time_limit)

    def work(file: str) -> str | None:
        source, target = str(folder / file), output / file
        try:
            if target.exists():
                note = read_note(target)
                if note == describe(source, how):
                    return None
                if MARK not in note:
                    return f'{target} is another file, not overwritten'
            compress_video(source, target, open_reader, how)
        except UnreadableVideoError as error:
            return f'unreadable: {error}'.replace(f'{source}: ', '')
        except LossyCopyError as error:
            return f'failed the check: {error}'
        return None

    # Threads: decoding has helper processes, encoding does not hold the GIL.
    with closing(thread_map(work, files, workers)) as results:
        bar = tqdm(results, 'compressing', len(files), unit='video')
        problems |= {files[at]: problem for at, problem in bar if problem}
    return len(files), problems


def main(arguments: Sequence[str] | None = None) -> None:
    """Compress the videos of a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path, help='folder of the videos')
    parser.add_argument('output', type=Path, help='folder for the copies')
    for name, default, unit in (
        ('fps', 3.0, 'frames per second; slower videos keep theirs'),
        ('short-side', 224, 'pixels; smaller videos keep their size'),
        ('crf', 20, 'constant rate factor of x264'),
        ('min-psnr', 28.0, 'decibels by which to agree with the source'),
        ('workers', os.cpu_count() or 1, 'videos at a time'),
        ('time-limit', 600.0, 'seconds that reading a video may take'),
    ):
        text = f'{unit} (default: %(default)g)'
        parser.add_argument(
            f'--{name}', type=type(default), default=default, help=text
        )
    args = parser.parse_args(arguments)
    if not args.folder.is_dir():
        raise SetupError(f'there is no folder {args.folder}')
    first, second = args.folder.resolve(), args.output.resolve()
    if first == second or first in second.parents or second in first.parents:
        raise SetupError(
            f'{args.output} and {args.folder} lie in each other; sources are '
            'never overwritten, so name a folder elsewhere'
        )
    how = Options(args.fps, args.short_side, args.crf, args.min_psnr)
    args.output.mkdir(parents=True, exist_ok=True)
    count, problems = compress_folder(
        args.folder, args.output, how, args.workers, args.time_limit
    )
    report, rows = args.output / 'not_compressed.csv', sorted(problems.items())
    write_csv(report, ['file', 'problem'], rows)
    if problems:
        raise SetupError(
            f'{len(problems)} of {count} videos have no copy; {report} lists '
            'them, and the sources are as they were:'
            + ''.join(f'\n  {file}: {problem}' for file, problem in rows[:5])
        )
    print(f'{args.output} holds copies of all, checked.')


if __name__ == '__main__':
    sys.exit(run_command(main, 'the same command goes on'))
