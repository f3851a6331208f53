"""Fonts for any script, and saving and rendering of figures."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from mmtvr.errors import SetupError

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


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> None:
    """Write a figure.

    Args:
        figure: The figure.
        path: ``.png``, ``.svg`` or another ending of matplotlib. Text in an
            SVG stays text.
        dpi: Dots per inch of pixels.

    Raises:
        SetupError: matplotlib writes no files with such an ending.
    """
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lower().removeprefix('.') not in known:
        raise SetupError(
            f'{path} cannot be written: it must end in .'
            f'{", .".join(sorted(known))}'
        )
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
