"""The page of failures: nothing of users' data becomes markup."""

from html.parser import HTMLParser

import numpy as np

from mmtvr.visualization.failures import (
    Failure,
    Frame,
    Result,
    Word,
    write_page,
)


def test_captions_cannot_bring_markup_into_the_page(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    result = Result(
        name='<i>.mp4',
        score=0.5,
        rank=1,
        is_true=True,
        frames=[Frame(image, is_masked=False)],
        words=[Word('<b>', 0.1, [0.2])],
    )
    failure = Failure('<script>', 1.0, 1, False, [result])
    write_page(tmp_path / 'page.html', [failure], 'title')
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


def test_hostile_names_change_no_tag_of_the_page(tmp_path):

    def tags(name):
        image = np.zeros((4, 4, 3), np.uint8)
        result = Result(
            name=name,
            score=0.5,
            rank=1,
            is_true=True,
            frames=[Frame(image, is_masked=False)],
            words=[Word(name, 0.1, [0.2])],
        )
        failure = Failure(name, 1.0, 1, False, [result])
        write_page(tmp_path / 'page.html', [failure], name)
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
