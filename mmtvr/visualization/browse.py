"""Samples of a dataset as a plot: frames in rows, captions below."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.figure import Figure

from mmtvr.visualization.figures import show_text_as_written

DPI = 100
FONT_SIZE = 8
# In pixels.
LINE_HEIGHT, MARGIN, GAP, CHARACTER_WIDTH = 14, 6, 2, 6


def draw_samples(
    samples: Sequence[tuple[np.ndarray, Sequence[str]]], frame_width: int
) -> Figure:
    """Draw samples below one another.

    Args:
        samples: Of each its frames, shape (T, H, W, 3), uint8, RGB, and its
            captions.
        frame_width: Width of a frame in pixels, if the figure is saved with
            ``DPI`` dots per inch.

    Returns:
        The figure, as wide as the longest sample.
    """
    width = frame_width * max(len(frames) for frames, _ in samples)
    columns = max(20, (width - 2 * MARGIN) // CHARACTER_WIDTH)
    rows = []
    for frames, captions in samples:
        lines = [
            line for text in captions for line in wrap(text, columns) or ['']
        ]
        image_height = round(frame_width * frames.shape[1] / frames.shape[2])
        text_height = LINE_HEIGHT * len(lines) + 2 * MARGIN
        rows.append((frames, lines, image_height, image_height + text_height))
    height = sum(row[-1] for row in rows)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    top = height
    for frames, lines, image_height, row_height in rows:
        axes = figure.add_axes(
            (
                0,
                (top - image_height) / height,
                frame_width * len(frames) / width,
                image_height / height,
            )
        )
        for column, frame in enumerate(frames):
            left = column * frame_width
            axes.imshow(
                frame,
                extent=(left, left + frame_width - GAP, 0, 1),
                aspect='auto',
                interpolation='nearest',
            )
        axes.set_xlim(0, frame_width * len(frames))
        axes.set_axis_off()
        figure.text(
            MARGIN / width,
            (top - image_height - MARGIN) / height,
            '\n'.join(lines),
            fontsize=FONT_SIZE,
            va='top',
        )
        top -= row_height
    show_text_as_written(figure)
    return figure
