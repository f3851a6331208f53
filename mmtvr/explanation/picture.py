"""One score as a picture: frames, words, their cosines, what is masked."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .fonts import SVG_TEXT, show_text_as_written
from .picture_panels import (
    MOST_PICTURES,
    TIMES_INCHES,
    draw_cosines,
    draw_frame_importance,
    draw_frames,
    draw_parts,
    draw_word_importance,
    name_negative,
    write_heading,
    write_title,
)
from .structure import Explanation, Scene

WIDTH, MARGIN, GAP = 10.0, 0.15, 0.12
LABELS, SIDE = 1.75, 1.5
ROW, PARTS_ROW = 0.25, 0.26
TITLE, TITLE_LINE, CAPTION_LINE = 0.3, 0.25, 85
IMPORTANCE, LONGEST_STRIP = 0.6, 1.3
LEGEND = 'framed: the best frame of each row; bold: key words'
NEGATIVES = 'hardest negatives of the index'


def draw_explanation(
    text: str,
    scene: Scene,
    explanation: Explanation,
    negatives: Sequence[Scene] = (),
) -> Figure:
    """Draw why a caption and a video have their score.

    Above the table of cosines stand the frames, beside it what TPM-CL thinks
    of the words; what it would mask is hatched and crossed out. Nothing is
    told by colour alone.

    Args:
        text: The caption.
        scene: The video, as many frames as the explanation has.
        explanation: The numbers.
        negatives: Other videos, the hardest first.

    Returns:
        The figure; see :func:`save_figure` and :func:`to_array`.
    """
    side = SIDE if explanation.word_masking else 0.0
    table = WIDTH - 2 * MARGIN - LABELS - side
    lines = _wrap(text)
    strip = _strip_height(scene.frames, table) + TIMES_INCHES
    page = _Page(
        dict(
            title=TITLE + TITLE_LINE * len(lines),
            frames=strip,
            importance=IMPORTANCE * bool(explanation.frame_masking),
            table=ROW * (len(explanation.words) + 1.4),
            parts=PARTS_ROW * (len(explanation.parts) + 1.2),
            heading=TITLE_LINE * bool(negatives),
            **{f'negative {row}': strip for row in range(len(negatives))},
        )
    )
    left = MARGIN + LABELS
    title = page.place('title', MARGIN, WIDTH - 2 * MARGIN)
    note = f'{scene.name}   score {explanation.score:.3f}   {LEGEND}'
    write_title(title, lines, note)
    frames = page.place('frames', left, table)
    draw_frames(frames, scene, strip, explanation.frame_masking)
    if explanation.frame_masking:
        axes = page.place('importance', left, table)
        draw_frame_importance(axes, explanation.frame_masking)
    draw_cosines(page.place('table', left, table), explanation)
    if explanation.word_masking:
        axes = page.place('table', left + table + 0.1, side - 0.1)
        draw_word_importance(axes, explanation.word_masking)
    draw_parts(page.place('parts', left, table), explanation)
    if negatives:
        write_heading(page.place('heading', left, table), NEGATIVES)
    for row, negative in enumerate(negatives):
        axes = page.place(f'negative {row}', left, table)
        draw_frames(axes, negative, strip)
        name_negative(axes, row, negative, explanation.score)
    show_text_as_written(page.figure)
    return page.figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure.

    Args:
        figure: The figure.
        path: ``.png``, ``.svg`` or another ending of matplotlib. Text in an
            SVG stays text.
        dpi: Dots per inch of pixels.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rc_context(SVG_TEXT):
        figure.savefig(path, dpi=dpi)


def to_array(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Render a figure.

    Args:
        figure: The figure.
        dpi: Dots per inch.

    Returns:
        Shape (H, W, 3), uint8, RGB.
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class _Page:
    """A figure whose rows have heights in inches.

    Args:
        heights: From the name of a row to its height, top row first.
    """

    def __init__(self, heights: dict[str, float]) -> None:
        self.heights = {name: h for name, h in heights.items() if h}
        self.total = sum(self.heights.values()) + GAP * len(self.heights)
        self.figure = Figure(figsize=(WIDTH, self.total))

    def place(self, row: str, left: float, width: float) -> Axes:
        """Make axes in a row, inches from the left."""
        names = list(self.heights)
        above = names[: names.index(row) + 1]
        depth = sum(self.heights[name] + GAP for name in above)
        box = left / WIDTH, 1 - depth / self.total, width / WIDTH
        return self.figure.add_axes((*box, self.heights[row] / self.total))


def _wrap(text: str) -> list[str]:
    """Break long lines, without a change of any word."""
    return [
        part
        for line in f'“{text}”'.splitlines()
        for part in wrap(line, CAPTION_LINE) or ['']
    ]


def _strip_height(frames: np.ndarray, width: float) -> float:
    count, height, across = frames.shape[:3]
    shown = min(count, MOST_PICTURES)
    return min(width / shown * height / across, LONGEST_STRIP)
