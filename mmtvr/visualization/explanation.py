"""One score as a plot: frames, words, similarities and what is masked."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from mmtvr.explanation import Explanation, Masking, Scene
from mmtvr.visualization.figures import show_text_as_written

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
MAX_NUMBERS = 16
MAX_FRAMES = 16
WIDTH, MARGIN, GAP = 10.0, 0.15, 0.12
LABELS, SIDE = 1.75, 1.5
ROW, PARTS_ROW = 0.25, 0.26
TITLE, TITLE_LINE, CAPTION_LINE = 0.3, 0.25, 85
IMPORTANCE, LONGEST_STRIP = 0.6, 1.3
LEGEND = 'framed: the best frame of each row; bold: key words'
NEGATIVES = 'hardest negatives of the index'


def draw_explanation(
    text: str,
    video: Scene,
    explanation: Explanation,
    negatives: Sequence[Scene] = (),
) -> Figure:
    """Draw why a caption and a video have their score.

    Frames that TPM-CL would mask are crossed out, words and bars hatched:
    nothing is shown by colour alone.

    Args:
        text: The caption.
        video: The video, as many frames as the explanation has.
        explanation: The numbers.
        negatives: Other videos, the hardest first.

    Returns:
        The figure; see :mod:`mmtvr.visualization.figures`.
    """
    side = SIDE if explanation.word_masking else 0.0
    table = WIDTH - 2 * MARGIN - LABELS - side
    lines = _wrap(text)
    strip = _strip_height(video.frames, table) + TIMES_INCHES
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
    note = f'{video.name}   score {explanation.score:.3f}   {LEGEND}'
    _write_title(title, lines, note)
    frames = page.place('frames', left, table)
    _draw_frames(frames, video, strip, explanation.frame_masking)
    if explanation.frame_masking:
        axes = page.place('importance', left, table)
        _draw_frame_importance(axes, explanation.frame_masking)
    _draw_cosines(page.place('table', left, table), explanation)
    if explanation.word_masking:
        axes = page.place('table', left + table + 0.1, side - 0.1)
        _draw_word_importance(axes, explanation.word_masking)
    _draw_parts(page.place('parts', left, table), explanation)
    if negatives:
        _write_heading(page.place('heading', left, table), NEGATIVES)
    for row, negative in enumerate(negatives):
        axes = page.place(f'negative {row}', left, table)
        _draw_frames(axes, negative, strip)
        _name_negative(axes, row, negative, explanation.score)
    show_text_as_written(page.figure)
    return page.figure


def _write_title(axes: Axes, lines: Sequence[str], note: str) -> None:
    axes.set_axis_off()
    text = '\n'.join(lines)
    axes.text(0, 1, text, fontsize=13, weight='bold', va='top')
    axes.text(0, 0, note, fontsize=10, va='bottom')


def _write_heading(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0, 0, text, fontsize=10, weight='bold', va='bottom')


def _draw_frames(
    axes: Axes,
    video: Scene,
    inches: float,
    masking: Masking | None = None,
) -> None:
    """Draw the frames side by side, with their times."""
    count = len(video.frames)
    axes.set_axis_off()
    step = -(-count // MAX_FRAMES)
    for first in range(0, count, step):
        left, right = first - 0.47, min(first + step, count) - 0.53
        # A frame that stands for several is not crossed out.
        gone = step == 1 and masking is not None and masking.removed[first]
        axes.imshow(
            video.frames[first],
            extent=(left, right, 0, 1),
            aspect='auto',
            alpha=0.45 if gone else 1.0,
        )
        if gone:
            axes.plot((left, right), (0, 1), color=DARK, lw=1.2)
            axes.plot((left, right), (1, 0), color=DARK, lw=1.2)
        label = f'{first + 1}'
        if len(video.times):
            label = f'{video.times[first]:.1f} s'
        axes.text((left + right) / 2, -0.03, label, va='top', **CENTRE)
    below = TIMES_INCHES / (inches - TIMES_INCHES)
    axes.set(xlim=(-0.5, count - 0.5), ylim=(-below, 1))


def _name_negative(axes: Axes, row: int, video: Scene, score: float) -> None:
    """Write beside the frames of another video what it is."""
    beats = video.score > score
    note = 'beats it' if beats else f'{video.score - score:+.3f}'
    axes.text(
        *(-0.6, 0.6, f'{row + 1}. {video.score:.3f} ({note})'),
        fontsize=SMALL,
        weight='bold' if beats else 'normal',
        **RIGHT,
    )
    axes.text(-0.6, 0.35, _short(video.name), fontsize=TINY, **RIGHT)


def _draw_frame_importance(axes: Axes, masking: Masking) -> None:
    """Draw bars above the columns of the table."""
    values = masking.importance
    bars = axes.bar(np.arange(len(values)), values, 0.8, **BAR_STYLE)
    _hatch(bars, masking)
    if len(values) <= MAX_NUMBERS:
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


def _draw_word_importance(axes: Axes, masking: Masking) -> None:
    """Draw bars beside the rows of the table."""
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


def _hatch(bars: BarContainer, masking: Masking) -> None:
    for bar, gone in zip(bars, masking.removed, strict=True):
        if gone:
            bar.set(hatch='////', facecolor='white')


def _draw_cosines(axes: Axes, explanation: Explanation) -> None:
    """Draw the table of words and frames, the whole caption as first row."""
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
            if columns > MAX_NUMBERS:
                break
            dark = (value - low) / (high - low) > 0.6
            axes.text(
                *(column, middle, f'{value:.2f}'),
                color='white' if dark else DARK,
                va='center',
                **CENTRE,
            )
    if columns > MAX_NUMBERS:
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


def _draw_parts(axes: Axes, explanation: Explanation) -> None:
    """Draw what the score is made of, each part where the last one ends."""
    start = 0.0
    ends = [0.0]
    style = dict(fontsize=SMALL, va='center')
    # At the left edge, where no bar is, negative ones included.
    label = dict(ha='right', transform=axes.get_yaxis_transform(), **style)
    for row, (name, part) in enumerate(explanation.parts.items()):
        axes.barh(row, part, 0.62, start, **BAR_STYLE)
        start += part
        ends.append(start)
        axes.text(max(start, start - part), row, f'  {part:+.3f}', **style)
        axes.text(-0.01, row, name, **label)
    row = len(explanation.parts)
    axes.barh(row, start, 0.62, color=DARK)
    axes.text(max(start, 0), row, f'  {start:.3f}', weight='bold', **style)
    axes.text(-0.01, row, 'score', weight='bold', **label)
    axes.axvline(0, color=DARK, lw=0.8)
    axes.set(ylim=(row + 0.6, -0.6))
    axes.set_xlim(min(0, *ends), 1.12 * max(*ends, 0.01))
    axes.set_axis_off()


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f'…{name[1 - longest :]}'


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
    shown = min(count, MAX_FRAMES)
    return min(width / shown * height / across, LONGEST_STRIP)
