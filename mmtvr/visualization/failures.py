"""A page of queries with what they found, as one HTML file."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

TEMPLATE = 'failures.html.j2'
LONGEST_SIDE = 160


@dataclass
class Frame:
    """One frame of a video.

    Attributes:
        image: Shape (H, W, 3), uint8, RGB.
        is_masked: Whether TPM-CL would mask it.
    """

    image: np.ndarray
    is_masked: bool


@dataclass
class Word:
    """One word piece of a caption beside one video.

    Attributes:
        name: The word piece.
        share: Its part in the mean over the words.
        cosines: Its cosine with each frame.
    """

    name: str
    share: float
    cosines: list[float]


@dataclass
class Result:
    """One video in the list of results.

    Attributes:
        name: File name.
        score: Similarity with the caption.
        rank: Its rank among all videos, from 1.
        is_true: Whether it is the caption's video.
        frames: What the model sees of it.
        words: The caption's word pieces beside it.
    """

    name: str
    score: float
    rank: int
    is_true: bool
    frames: list[Frame]
    words: list[Word]


@dataclass
class Failure:
    """One query.

    Attributes:
        caption: The text.
        rank: Rank of the true video, from 1; a half where it ties.
        videos: Number of videos.
        top1_is_hard_negative: Whether NegNCE counts the first result as a
            hard negative.
        results: The best videos, best first, and the true one.
        group: Why it is shown, a heading of the page.
    """

    caption: str
    rank: float
    videos: int
    top1_is_hard_negative: bool
    results: list[Result]
    group: str = ''


def write_page(path: Path, failures: Sequence[Failure], title: str) -> None:
    """Write the page, which holds its images and needs no network.

    Args:
        path: The HTML file.
        failures: What to show.
        title: What was evaluated.
    """
    # Captions and file names come from users' data.
    environment = Environment(
        loader=PackageLoader('mmtvr.visualization', '.'),
        autoescape=True,
        trim_blocks=True,
    )
    environment.filters |= dict(data_url=_data_url, shade=_shade)
    page = environment.get_template(TEMPLATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    html = page.render(failures=failures, title=title)
    path.write_text(html, encoding='utf-8')


def _data_url(frame: np.ndarray) -> str:
    image = Image.fromarray(frame)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=85)
    encoded = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/jpeg;base64,{encoded}'


def _shade(cosine: float) -> str:
    """CSS of a cell: white at 0, blue at 1, red at -1."""
    strength = min(1.0, abs(cosine))
    hue = 215 if cosine > 0 else 5
    text = '#fff' if strength > 0.7 else '#1b1b1b'
    light = 100 - 55 * strength
    return f'background: hsl({hue} 70% {light:.0f}%); color: {text}'
