"""The panels of an explanation, each drawn into axes of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from .structure import Explanation, Masking

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
