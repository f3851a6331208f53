"""The page of ``failures.py``: what it shows, and how it is written."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

TEMPLATE = 'failures.html.j2'
LONGEST_SIDE = 160


@dataclass
class Frame:
    """One frame of a video.

    Attributes:
        picture: Shape (H, W, 3), uint8, RGB.
        removed: Whether TPM-CL would remove it.
    """

    picture: np.ndarray
    removed: bool


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
class Answer:
    """One video in the list of results.

    Attributes:
        name: File name.
        score: Similarity with the caption.
        place: Its place among all videos, from 1.
        is_true: Whether it is the caption's video.
        frames: What the model sees of it.
        words: The caption's word pieces beside it.
    """

    name: str
    score: float
    place: int
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
        winner_is_hard: Whether NegNCE counts the first answer as hard.
        answers: The best videos, best first, and the true one.
    """

    caption: str
    rank: float
    videos: int
    winner_is_hard: bool
    answers: list[Answer]


def data_url(picture: np.ndarray) -> str:
    """Encode a picture into the page.

    Args:
        picture: Shape (H, W, 3), uint8, RGB.

    Returns:
        A JPEG as a data URL, at most ``LONGEST_SIDE`` pixels long.
    """
    image = Image.fromarray(picture)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=85)
    encoded = base64.b64encode(buffer.getvalue()).decode('ascii')
    return f'data:image/jpeg;base64,{encoded}'


def shade(cosine: float) -> str:
    """Colour a cell: white at 0, blue at 1, red at -1.

    Args:
        cosine: In [-1, 1].

    Returns:
        CSS.
    """
    strength = min(1.0, abs(cosine))
    hue = 215 if cosine > 0 else 5
    text = '#fff' if strength > 0.7 else '#1b1b1b'
    light = 100 - 55 * strength
    return f'background: hsl({hue} 70% {light:.0f}%); color: {text}'


def write_page(path: Path, failures: Sequence[Failure], title: str) -> None:
    """Write the page, with all pictures in it.

    Args:
        path: The HTML file.
        failures: What to show.
        title: What was evaluated.
    """
    folder = Path(__file__).parent
    # Captions and file names come from users' data.
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, trim_blocks=True
    )
    environment.filters |= {'data_url': data_url, 'shade': shade}
    page = environment.get_template(TEMPLATE)
    path.parent.mkdir(parents=True, exist_ok=True)
    html = page.render(failures=failures, title=title)
    path.write_text(html, encoding='utf-8')
