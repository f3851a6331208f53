from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from mmtvr.visualization.figures import (
    BASE,
    fonts_for,
    show_text_as_written,
)

# In STIX, which matplotlib brings along, and not in the standard font.
RARE = '\u1d81'


def test_a_sign_comes_from_a_font_that_has_it():
    assert fonts_for('plain text') == [BASE]
    families = fonts_for(f'a{RARE}')
    assert families[0] == BASE
    assert len(families) == 2
    path = font_manager.findfont(families[1])
    assert ord(RARE) in FT2Font(path).get_charmap()


def test_a_sign_that_no_font_has_is_no_error():
    assert fonts_for('\U0010fffd') == [BASE]
    assert fonts_for('\n\u200e') == [BASE]


def test_texts_of_a_figure_are_no_formulas():
    figure = Figure()
    text = figure.text(0, 0, f'$x$ {RARE}')
    title = figure.subplots().set_title('$y$')
    show_text_as_written(figure)
    assert not text.get_parse_math()
    assert not title.get_parse_math()
    assert text.get_fontfamily() == fonts_for(RARE)
