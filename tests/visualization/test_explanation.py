import dataclasses
import html
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from mmtvr.visualization.explanation import draw_explanation
from mmtvr.visualization.figures import save_figure, to_array


def texts_of(path):
    """What a viewer writes, of an SVG whose text is text."""
    svg = path.read_text(encoding='utf-8')
    spans = re.findall(r'<text[^>]*>(.*?)</text>', svg, re.DOTALL)
    return [html.unescape(re.sub('<[^>]*>', '', s)).strip() for s in spans]


def test_what_is_told_stands_in_the_plot(explanation, video, tmp_path):
    negative = dataclasses.replace(video, name='cat.mp4', score=0.6)
    figure = draw_explanation('a dog', video, explanation, [negative])
    save_figure(figure, tmp_path / 'new/plot.svg')
    written = texts_of(tmp_path / 'new/plot.svg')
    for expected in (
        *('“a dog”', 'dog  ×2', '[start]', '2.0 s', '0.90'),
        *('+0.700', '-0.200', '0.500', '1. 0.600 (beats it)', 'cat.mp4'),
    ):
        assert expected in written, expected
    # Title, table and importance of words; frames and parts.
    assert sum('hatched: masked' in each for each in written) == 2


def test_without_tpmcl_nothing_is_said_of_masking(
    explanation, video, tmp_path
):
    plain = dataclasses.replace(
        explanation, word_masking=None, frame_masking=None
    )
    save_figure(draw_explanation('a dog', video, plain), tmp_path / 'p.svg')
    assert not any('masked' in each for each in texts_of(tmp_path / 'p.svg'))


@pytest.mark.parametrize(
    'text',
    [
        r'costs $5, or $x_1$ and \frac{1}{0}',
        '_a _file_name_',
        'dog \N{DOG FACE} runs',
        'כלב רץ',
        '<b>&amp;"quotes"',
        '%s {0} #1',
    ],
)
def test_captions_and_names_are_not_changed(
    explanation, video, tmp_path, text
):
    video = dataclasses.replace(video, name=text)
    found = dataclasses.replace(explanation, words=('[start]', text, '[end]'))
    figure = draw_explanation(text, video, found)
    save_figure(figure, tmp_path / 'plot.svg')
    written = texts_of(tmp_path / 'plot.svg')
    assert f'“{text}”' in written
    assert f'{text}  ×2' in written
    assert any(each.startswith(f'{text}   score') for each in written)
    assert to_array(figure, dpi=20).std() > 0


def test_long_captions_are_broken_between_words(explanation, video, tmp_path):
    text = 'a dog runs\n' + 30 * 'over the hills '
    save_figure(
        draw_explanation(text, video, explanation), tmp_path / 'plot.svg'
    )
    written = ' '.join(texts_of(tmp_path / 'plot.svg'))
    assert written.count('over the hills') == 30


def test_png_has_the_asked_size(explanation, video, tmp_path):
    figure = draw_explanation('a dog', video, explanation)
    save_figure(figure, tmp_path / 'plot.png', dpi=50)
    with Image.open(tmp_path / 'plot.png') as image:
        assert image.size[0] == 500
    assert to_array(figure, dpi=30).shape[1] == 300


def test_many_frames_and_words_fit(explanation, video, tmp_path):
    cosines = np.tile(np.linspace(-0.25, 0.75, 64), (77, 1))
    long = dataclasses.replace(
        explanation,
        words=('dog',) * 77,
        weights=np.ones(77),
        cosines=cosines,
        sentence=cosines[0],
        word_masking=None,
        frame_masking=None,
    )
    many = dataclasses.replace(
        video, frames=np.zeros((64, 30, 40, 3), np.uint8), times=range(64)
    )
    figure = draw_explanation('dog', many, long)
    assert to_array(figure, 20).shape[1] == 200
    save_figure(figure, tmp_path / 'plot.svg')
    # Where numbers have no room, the shades are told.
    assert 'light -0.25, dark 0.75' in texts_of(tmp_path / 'plot.svg')


def test_names_of_parts_cover_no_bar(explanation, video):
    negative = dataclasses.replace(
        explanation, parts={'sentence': 0.2, 'words': -0.7}, score=-0.5
    )
    figure = draw_explanation('a dog', video, negative)
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = [
        axes
        for axes in figure.axes
        if 'score' in [text.get_text() for text in axes.texts]
    ]
    bars = [bar.get_window_extent(renderer) for bar in axes.patches]
    names = [
        text.get_window_extent(renderer)
        for text in axes.texts
        if text.get_text() in ('sentence', 'words', 'score')
    ]
    assert len(bars) == len(names) == 3
    assert not any(n.overlaps(bar) for n in names for bar in bars)
