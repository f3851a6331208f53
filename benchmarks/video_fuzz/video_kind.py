"""A kind of video file, and how one of it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.video_fuzz.stamped_videos import (
    Encoding,
    copy_packets,
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
