"""One score as a plot: frames, words, similarities and what is masked."""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from mmtvr.explanation import Explanation, Masking, Scene

SMALL, TINY = 9, 7.5
COLOURS = 'Blues'
BAR, DARK = '#5b84b1', '#1b1b1b'
BAR_STYLE = dict(color=BAR, edgecolor=DARK, linewidth=0.8)
CENTRE = dict(fontsize=TINY, ha='center')
RIGHT = dict(ha='right', va='center')
TIMES_INCHES = 0.18
# Seen on light and on dark cells.
FRAMED = dict(
    fill=False,
    linewidth=1.4,
    edgecolor=DARK,
    path_effects=[withStroke(linewidth=3.6, foreground='white')],
)
MOST_NUMBERS = 16
MOST_PICTURES = 16


def write_title(axes: Axes, lines: Sequence[str], note: str) -> None:
    """Write the caption and a line about the video.

    Args:
        axes: The axes.
        lines: The caption.
        note: The line below.
    """
    axes.set_axis_off()
    text = '\n'.join(lines)
    axes.text(0, 1, text, fontsize=13, weight='bold', va='top')
    axes.text(0, 0, note, fontsize=10, va='bottom')


def write_heading(axes: Axes, text: str) -> None:
    """Write a heading.

    Args:
        axes: The axes.
        text: The heading.
    """
    axes.set_axis_off()
    axes.text(0, 0, text, fontsize=10, weight='bold', va='bottom')


def draw_frames(
    axes: Axes, scene: Any, inches: float, masking: Masking | None = None
) -> None:
    """Draw the frames side by side, with their times.

    Args:
        axes: One unit of its x axis is one frame.
        scene: Has ``frames`` (T, H, W, 3) and ``times``.
        inches: Height of the axes.
        masking: What TPM-CL would mask is crossed out; None for nothing.
    """
    count = len(scene.frames)
    axes.set_axis_off()
    step = -(-count // MOST_PICTURES)
    for first in range(0, count, step):
        left, right = first - 0.47, min(first + step, count) - 0.53
        # A picture that stands for several frames is not crossed out.
        gone = step == 1 and masking is not None and masking.removed[first]
        axes.imshow(
            scene.frames[first],
            extent=(left, right, 0, 1),
            aspect='auto',
            alpha=0.45 if gone else 1.0,
        )
        if gone:
            axes.plot((left, right), (0, 1), color=DARK, lw=1.2)
            axes.plot((left, right), (1, 0), color=DARK, lw=1.2)
        label = f'{first + 1}'
        if len(scene.times):
            label = f'{scene.times[first]:.1f} s'
        axes.text((left + right) / 2, -0.03, label, va='top', **CENTRE)
    below = TIMES_INCHES / (inches - TIMES_INCHES)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(-below, 1))


def name_negative(axes: Axes, row: int, scene: Any, score: float) -> None:
    """Write beside the frames of another video what it is.

    Args:
        axes: The axes of its frames.
        row: Its number from 0.
        scene: Has ``name`` and ``score``.
        score: Similarity of the explained video.
    """
    beats = scene.score > score
    note = 'beats it' if beats else f'{scene.score - score:+.3f}'
    axes.text(
        *(-0.6, 0.6, f'{row + 1}. {scene.score:.3f} ({note})'),
        fontsize=SMALL,
        weight='bold' if beats else 'normal',
        **RIGHT,
    )
    axes.text(-0.6, 0.35, _short(scene.name), fontsize=TINY, **RIGHT)


def draw_frame_importance(axes: Axes, masking: Masking) -> None:
    """Draw bars above the columns of the table.

    Args:
        axes: The axes.
        masking: Importance of T frames.
    """
    values = masking.importance
    bars = axes.bar(np.arange(len(values)), values, 0.8, **BAR_STYLE)
    _hatch(bars, masking)
    if len(values) <= MOST_NUMBERS:
        for column, value in enumerate(values):
            axes.text(column, value, f'{value:.2f}', va='bottom', **CENTRE)
    largest = max(values.max(initial=0), 1e-9)
    axes.set(xlim=(-0.5, len(values) - 0.5), ylim=(0, 1.3 * largest))
    axes.set_axis_off()
    axes.text(
        *(-0.6, 0.6 * largest, 'importance;\nhatched: masked'),
        fontsize=TINY,
        **RIGHT,
    )


def draw_word_importance(axes: Axes, masking: Masking) -> None:
    """Draw bars beside the rows of the table.

    Args:
        axes: The axes, as high as the table.
        masking: Importance of W word pieces.
    """
    values = masking.importance
    bars = axes.barh(np.arange(len(values)), values, 0.7, **BAR_STYLE)
    _hatch(bars, masking)
    style = dict(fontsize=TINY, va='center')
    for row, value in enumerate(values):
        axes.text(value, row, f' {value:.2f}', **style)
    largest = max(values.max(initial=0), 1e-9)
    axes.set(ylim=(len(values) - 0.5, -1.9), xlim=(0, 1.5 * largest))
    axes.set_axis_off()
    axes.text(0, -1.4, 'importance;\nhatched: masked', **style)


def _hatch(bars: Any, masking: Masking) -> None:
    for bar, gone in zip(bars, masking.removed, strict=True):
        if gone:
            bar.set(hatch='////', facecolor='white')


def draw_cosines(axes: Axes, explanation: Explanation) -> None:
    """Draw the table of words and frames, the whole caption as first row.

    The best frame of each row is framed; key words are bold and say by how
    much they count more.

    Args:
        axes: The axes.
        explanation: The numbers.
    """
    cosines = explanation.cosines
    words, columns = cosines.shape
    low, high = min(0.0, cosines.min()), max(cosines.max(), 0.01)
    style = dict(cmap=COLOURS, vmin=low, vmax=high, aspect='auto')
    whole = explanation.sentence[None]
    axes.imshow(whole, extent=(-0.5, columns - 0.5, -0.9, -1.9), **style)
    axes.imshow(
        cosines, extent=(-0.5, columns - 0.5, words - 0.5, -0.5), **style
    )
    rows = np.concatenate([whole, cosines])
    for number, row in enumerate(rows):
        middle = number - 1 if number else -1.4
        best = int(row.argmax())
        corner = best - 0.47, middle - 0.44
        axes.add_patch(Rectangle(corner, 0.94, 0.88, **FRAMED))
        for column, value in enumerate(row):
            if columns > MOST_NUMBERS:
                break
            dark = (value - low) / (high - low) > 0.6
            axes.text(
                *(column, middle, f'{value:.2f}'),
                color='white' if dark else DARK,
                va='center',
                **CENTRE,
            )
    if columns > MOST_NUMBERS:
        scale = f'light {low:.2f}, dark {high:.2f}'
        axes.text(columns - 0.5, -0.7, scale, fontsize=TINY, **RIGHT)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(words - 0.5, -1.9))
    axes.set_axis_off()
    _name_rows(axes, explanation)


def _name_rows(axes: Axes, explanation: Explanation) -> None:
    style = dict(fontsize=SMALL, **RIGHT)
    axes.text(-0.6, -1.4, 'the whole caption', style='italic', **style)
    for row, (word, weight) in enumerate(
        zip(explanation.words, explanation.weights, strict=True)
    ):
        key = weight > 1
        axes.text(
            *(-0.6, row, f'{word}  ×{weight:g}' if key else word),
            weight='bold' if key else 'normal',
            **style,
        )


def draw_parts(axes: Axes, explanation: Explanation) -> None:
    """Draw what the score is made of, each part where the last one ends.

    Args:
        axes: The axes.
        explanation: The numbers.
    """
    start = 0.0
    ends = [0.0]
    style = dict(fontsize=SMALL, va='center')
    for row, (name, part) in enumerate(explanation.parts.items()):
        axes.barh(row, part, 0.62, start, **BAR_STYLE)
        start += part
        ends.append(start)
        axes.text(max(start, start - part), row, f'  {part:+.3f}', **style)
        axes.text(-0.01, row, name, ha='right', **style)
    row = len(explanation.parts)
    axes.barh(row, start, 0.62, color=DARK)
    axes.text(max(start, 0), row, f'  {start:.3f}', weight='bold', **style)
    axes.text(-0.01, row, 'score', ha='right', weight='bold', **style)
    axes.axvline(0, color=DARK, lw=0.8)
    axes.set(ylim=(row + 0.6, -0.6))
    axes.set_xlim(min(0, *ends), 1.12 * max(*ends, 0.01))
    axes.set_axis_off()


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f'…{name[1 - longest :]}'


BASE = 'DejaVu Sans'
# SVG keeps text as text: a viewer shapes it with all fonts that it has.
SVG_TEXT = {'svg.fonttype': 'none'}


def show_text_as_written(figure: Figure) -> None:
    """Keep matplotlib from changing captions and names in a figure.

    ``$`` begins no formula, and signs that the standard font lacks come from
    installed fonts where one has them.

    Args:
        figure: The figure, with all its texts.
    """
    texts = figure.findobj(Text)
    signs = set().union(*(text.get_text() for text in texts))
    families = fonts_for(signs)
    for text in texts:
        text.set_parse_math(False)
        text.set_fontfamily(families)


def fonts_for(signs: Iterable[str]) -> list[str]:
    """Choose fonts that together have given signs.

    Args:
        signs: Characters.

    Returns:
        Font families, the standard one first. A sign that no installed font
        has stays without one and is drawn as a box.
    """
    missing = {ord(sign) for sign in signs if sign.isprintable()}
    missing -= _signs_of(font_manager.findfont(BASE))
    families = [BASE]
    if not missing:
        return families
    for font in font_manager.fontManager.ttflist:
        if font.name in families or font.style != 'normal':
            continue
        # It has a box for every sign.
        if font.name.startswith('Last Resort'):
            continue
        has = missing & _signs_of(font.fname)
        if has:
            families.append(font.name)
            missing -= has
        if not missing:
            break
    return families


@cache
def _signs_of(path: str) -> frozenset[int]:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return frozenset()
    # Fonts of coloured bitmaps cannot be drawn.
    return frozenset(font.get_charmap() if font.scalable else ())


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
