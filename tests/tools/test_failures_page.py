"""The page of failures that tools/analysis writes."""

import sys
from html.parser import HTMLParser

import numpy as np


def test_failures_are_written_as_one_page(
    load_script, tiny_config, checkpoint, monkeypatch, tmp_path
):
    page = tmp_path / 'out/failures.html'
    arguments = ['failures', tiny_config, checkpoint, '--out', page]
    arguments = [*map(str, arguments), '--count', '2']
    monkeypatch.setattr(sys, 'argv', arguments)
    load_script('failures')['main']()
    html = page.read_text(encoding='utf-8')
    # Two of the worst and two others, each with all five videos.
    assert html.count('<h2>') == 4
    assert html.count('<section') == 20
    assert html.count('the true video</strong>') == 4
    assert html.count('data:image/jpeg;base64,') == 20 * 3
    assert html.count('class="gone"') == 20
    assert 'hard negative of NegNCE' in html
    assert 'http' not in html.replace('<!doctype html>', '')


def test_captions_cannot_bring_markup_into_the_page(load_script, tmp_path):
    page = load_script('failures_page')
    picture = np.zeros((4, 4, 3), np.uint8)
    answer = page['Answer'](
        name='<i>.mp4',
        score=0.5,
        place=1,
        is_true=True,
        frames=[page['Frame'](picture, removed=False)],
        words=[page['Word']('<b>', 0.1, [0.2])],
    )
    failure = page['Failure']('<script>', 1.0, 1, False, [answer])
    page['write_page'](tmp_path / 'page.html', [failure], 'title')
    html = (tmp_path / 'page.html').read_text(encoding='utf-8')
    assert '&lt;script&gt;' in html
    for markup in ('<script>', '<i>', '<b>'):
        assert markup not in html


HOSTILE = (
    '"><script>alert(1)</script>',
    "' onmouseover='alert(1)",
    '</title></style><svg onload=alert(1)>',
    'javascript:alert(1)',
    '{{ 7 * 7 }}{% raw %}',
    'a#b?c&d=<!--',
)


def test_hostile_names_change_no_tag_of_the_page(load_script, tmp_path):
    script = load_script('failures_page')

    def tags(name):
        picture = np.zeros((4, 4, 3), np.uint8)
        answer = script['Answer'](
            name=name,
            score=0.5,
            place=1,
            is_true=True,
            frames=[script['Frame'](picture, removed=False)],
            words=[script['Word'](name, 0.1, [0.2])],
        )
        failure = script['Failure'](name, 1.0, 1, False, [answer])
        script['write_page'](tmp_path / 'page.html', [failure], name)
        html = (tmp_path / 'page.html').read_text(encoding='utf-8')
        found, text = [], []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attrs: found.append((tag, attrs))
        parser.handle_data = text.append
        parser.feed(html)
        assert name in ''.join(text)
        return found

    plain = tags('a dog')
    for name in HOSTILE:
        assert tags(name) == plain, name
