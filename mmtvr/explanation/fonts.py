"""Text in pictures as it was written: no formulas, fonts for every sign."""

from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

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
