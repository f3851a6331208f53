import html
import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import quote

import numpy as np
import pytest
from starlette.testclient import TestClient

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.search.calibration import Calibration
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.pages import Answers, clock

QUERY = 'a red circle rising'


def names_in(page):
    found = re.findall(r'class="name"><a[^>]*><bdi>(.*?)</bdi>', page, re.S)
    return [html.unescape(each) for each in found]


def test_a_query_is_answered_by_a_grid_that_plays(client):
    page = client.get('/', params=dict(q=QUERY)).text
    assert f'<title>{QUERY} – shapes &lt;index&gt;</title>' in page
    assert f'value="{QUERY}"' in page
    assert page.count('<li class="card">') == 6
    first = page.split('<li class="card">')[1]
    # It plays from the beginning of the first moment.
    (start,) = re.findall(r'src="/video/[0-9a-f]{32}#t=(\d+\.\d\d)"', first)
    spans = re.findall(r'data-seek="([\d.]+)">([\d.]+) s – [\d.]+ s<', first)
    assert f'{float(start):.1f}' == spans[0][1]
    assert f'data-from="{spans[0][0]}"' in first
    # The picture, and all that is said of it, are of the best moment.
    (time,) = set(re.findall(r'best moment ([\d.]+) s', first))
    assert re.search(r'class="clock"[^>]*>([\d.]+) s', first)[1] == time
    posters = re.findall(r'src="/poster/[0-9a-f]{32}\?t=([\d.]+)', first)
    assert {f'{float(each):.1f}' for each in posters} == {time}
    # Each key word with its moment.
    assert re.findall(r'<bdi>(\w+)</bdi> <small>', first) == [
        *('red', 'circle', 'rising')
    ]


@pytest.mark.parametrize(
    ('cut_off', 'word', 'is_said'),
    [(-9, 'fits well', False), (9, 'does not fit', True)],
)
def test_calibrated_scores_are_shown_as_a_word_and_a_bar(
    cut_off, word, is_said, client, monkeypatch
):
    known = Calibration(5.0, -5.0 * cut_off, 100, 6, 0.01)
    monkeypatch.setattr(TextVideoSearcher, 'calibration', known)
    page = client.get('/', params=dict(q=QUERY)).text
    assert page.count('<meter') == 6
    assert f'</meter> {word}, ' in page
    assert ('Probably nothing fits.' in page) == is_said
    answer = client.get('/api/search', params=dict(q=QUERY)).json()
    assert answer['fits'] == (not is_said)
    assert 0 <= answer['results'][0]['probability'] <= 1


def test_results_stand_in_the_order_of_the_model(client, searcher):
    found = searcher.search(QUERY)
    page = client.get('/', params=dict(q=QUERY)).text
    expected = [os.path.basename(os.fsencode(r.path)) for r in found]
    assert names_in(page) == [
        name.decode('utf-8', 'replace') for name in expected
    ]


def test_names_are_escaped_and_shown_as_they_are(client, names):
    page = client.get('/', params=dict(q=QUERY)).text
    assert set(names_in(page)) == {*names, 'old.avi'}
    assert '<script>alert' not in page
    assert "onerror='" not in page.replace('&#39;', '_')
    assert '{{ 7*7 }}' in html.unescape(page)


@pytest.mark.parametrize(
    'query',
    [
        '<script>alert(1)</script>',
        '"><img src=x onerror=alert(1)>',
        "' onfocus=alert(1) autofocus='",
        '{{ 7*7 }} {% raw %}',
        'a כלב \N{DOG FACE} $x$ \\',
        '%00 \x01 \u202e',
    ],
)
def test_queries_cannot_bring_markup_into_a_page(client, query):
    found = client.get('/api/search', params=dict(q=query)).json()
    key = found['results'][0]['id']
    for address in ('/', f'/watch/{key}', f'/explain/{key}'):
        page = client.get(address, params=dict(q=query))
        assert page.status_code == 200, address
        assert query.strip() in html.unescape(page.text)
        assert '<script>alert' not in page.text
        assert '<img src=x' not in page.text
        for attribute in re.findall(r'id="q"[^>]* value="([^"]*)"', page.text):
            assert html.unescape(attribute) == query.strip()


def test_addresses_in_a_page_hold_the_query(client):
    query = 'a & b="c"#d ü'
    page = client.get('/', params=dict(q=query)).text
    assert f'?q={quote(query)}&amp;t=' in page


def test_without_a_query_some_videos_are_shown(client):
    page = client.get('/').text
    assert 'Search 6 videos' in page
    assert page.count('<li class="card">') == 6
    assert client.get('/?q=%20%20').text == page


def test_more_results_can_be_asked_for(client):
    page = client.get('/', params=dict(q=QUERY, k=3)).text
    assert page.count('<li class="card">') == 3
    assert 'offset=3&amp;k=3" data-more>Show more</a>' in page
    for params in (dict(k=1000), dict(k=6), dict(k=3, offset=3)):
        everything = client.get('/', params=dict(q=QUERY, **params)).text
        assert 'class="more"' not in everything
    beyond = client.get('/', params=dict(q=QUERY, k=3, offset=6)).text
    assert 'No further results' in beyond


def test_an_empty_index_is_explained(empty_client):
    for address in ('/', '/?q=a+dog'):
        page = empty_client.get(address)
        assert page.status_code == 200
        assert 'The index is empty' in page.text
        command = 'mmtvr index CONFIG FOLDER --into INDEX'
        assert f'<pre>{command}</pre>' in page.text
    assert empty_client.get('/api/search?q=dog').json()['results'] == []


def test_no_result_is_explained(client, searcher, monkeypatch):
    monkeypatch.setattr(searcher, 'search', lambda *_, **__: [[]])
    page = client.get('/', params=dict(q=QUERY)).text
    assert f'Nothing found for “<bdi>{QUERY}</bdi>”' in page


def test_what_its_text_alone_finds_is_not_called_unfit(
    client, searcher, monkeypatch
):
    search, said = searcher.search, {}

    def find(*arguments, **options):
        (results,) = search(*arguments, **options)
        first, *others = (replace(r, probability=0.1) for r in results)
        return [[replace(first, **said), *others]]

    monkeypatch.setattr(searcher, 'search', find)
    asked = dict(q=QUERY, where='duration < 60')
    page = client.get('/', params=asked).text
    assert 'Probably nothing fits.' in page
    assert 'None of the videos that match the filter is likely' in page
    said.update(matched=('video', 'text'), snippet='red')
    page = client.get('/', params=dict(q=QUERY)).text
    assert 'None of the 6 videos is likely to show this, but 1 of' in page
    assert page.count('</meter> Pictures: does not fit, 10 %') == 1
    assert page.count('</meter> does not fit, 10 %') == 5


def test_a_wrong_filter_stays_to_be_corrected(client):
    asked = dict(q=QUERY, where='durations < "6"', match='video')
    page = client.get('/', params=asked)
    assert page.status_code == 422
    assert 'did you mean duration' in page.text
    assert 'form="search" value="durations &lt; &#34;6&#34;"' in page.text
    assert '<option value="video" selected>' in page.text
    assert f'value="{QUERY}"' in page.text


def test_words_are_shown_also_where_none_is_a_key_word(
    client, key_of, monkeypatch
):
    address = f'/explain/{key_of("plain.mp4")}'

    def words():
        page = client.get(address, params=dict(q=QUERY)).text
        plain = page.partition('class="experts"')[0]
        return re.findall(r'<th scope="row"><bdi>([^<]*)</bdi></th>', plain)

    assert words() == QUERY.split()[1:]
    explain = Answers.explain

    def without_weights(*arguments):
        found, times = explain(*arguments)
        return replace(found, weights=np.ones_like(found.weights)), times

    monkeypatch.setattr(Answers, 'explain', without_weights)
    assert words() == QUERY.split()


def test_a_video_has_a_page_with_its_table(client, key_of):
    key = key_of('plain.mp4')
    page = client.get(f'/watch/{key}', params=dict(q=QUERY)).text
    assert '<h1><bdi>plain.mp4</bdi></h1>' in page
    assert page.count('<li class="card">') == 5
    table = page.split('<table class="heat"')[1].split('</table>')[0]
    # The whole text and six word pieces, eight frames each.
    assert len(re.findall(r'<td class="s\d+[ "]', table)) == 7 * 8
    assert len(re.findall(r'<td class="s\d+ best"', table)) == 7
    assert table.count('class="key"') == 3
    assert table.count('<strong>masked</strong>') >= 1
    assert 'alt="The 8 frames of plain.mp4 that the model saw"' in table
    plain = client.get(f'/watch/{key}').text
    assert 'class="heat"' not in plain
    assert 'src="/video/' in plain


def test_every_picture_and_video_is_told_in_words(client, key_of):
    key, q = key_of('plain.mp4'), dict(q=QUERY)
    seen = set()

    def look(tag, attributes):
        told = dict(attributes)
        if tag in ('img', 'canvas', 'video', 'svg', 'object'):
            seen.add(tag)
            words = told.get('alt' if tag == 'img' else 'aria-label') or ''
            assert words.strip(), (tag, told)

    for path in ('/', f'/watch/{key}', f'/explain/{key}', f'/similar/{key}'):
        parser = HTMLParser()
        parser.handle_starttag = look
        parser.feed(client.get(path, params=q).text)
    assert seen == {'img', 'video'}


def test_the_table_agrees_with_the_model(client, key_of, searcher, videos):
    key = key_of('plain.mp4')
    page = client.get(f'/explain/{key}', params=dict(q=QUERY)).text
    expected = searcher.explain(QUERY, videos / 'plain.mp4')
    first = re.findall(r'<td class="s\d+(?: best)?">([-\d.]+)</td>', page)
    sentence = expected.explanation.sentence
    assert first[:8] == [f'{value:.2f}' for value in sentence]
    assert f'score {expected.explanation.score:.3f}' in page


def test_a_file_that_browsers_do_not_play_has_a_preview(client, key_of):
    page = client.get(f'/watch/{key_of("old.avi")}?t=1').text
    stage = page.split('class="stage')[1].split('</div>')[0]
    assert 'src="/preview/' in stage
    assert 'src="/video/' not in stage
    assert '<p class="note preview-note">' in stage
    assert 'download="video.avi"' in stage


def test_similar_videos_leave_the_video_out(client, key_of):
    page = client.get(f'/similar/{key_of("plain.mp4")}').text
    assert page.count('<li class="card">') == 5
    assert 'plain.mp4' not in names_in(page)


@pytest.mark.parametrize(
    ('address', 'status', 'message'),
    [
        (f'/?q={"x" * 1001}', 400, 'Your text has 1001 characters'),
        ('/?q=a&k=many', 400, 'k must be a number'),
        ('/?q=a&k=-1', 400, 'k must be a number'),
        ('/watch/0123', 404, 'no such video in the index'),
        (f'/watch/{"0" * 32}', 404, 'no such video in the index'),
        ("/similar/' OR 1=1 --", 404, 'no such video in the index'),
        ('/nothing', 404, 'nothing at this address'),
        (f'/watch/{"0" * 32}?t=nan', 400, 't must be a time'),
    ],
)
def test_errors_are_told_on_a_page(client, address, status, message):
    page = client.get(address)
    assert page.status_code == status
    assert message in page.text
    assert '<form role="search"' in page.text
    # What was typed is still there to be changed.
    typed = re.search(r'[?]q=([^&]*)', address)
    if typed:
        assert f'value="{typed[1]}"' in page.text


def test_an_unexpected_error_tells_nothing_of_the_inside(
    app, searcher, monkeypatch
):
    def fail(*_, **__):
        raise RuntimeError('/secret/path')

    monkeypatch.setattr(searcher, 'search', fail)
    client = TestClient(app, 'http://localhost', raise_server_exceptions=False)
    page = client.get('/?q=dog')
    assert page.status_code == 500
    assert 'Please try again' in page.text
    assert 'secret' not in page.text
    assert page.headers['x-content-type-options'] == 'nosniff'


def test_files_that_could_not_be_read_are_listed(
    client, searcher, monkeypatch
):
    path = '/secret/folder/<b>.mp4'
    broken = FileEntry(path, '', error=f'{path}: no moov atom')
    entries = [*searcher.store.list_files(), broken]
    monkeypatch.setattr(searcher.store, 'list_files', lambda: entries)
    front = client.get('/').text
    assert '<a href="/unreadable">1 file could not be read</a>' in front
    page = client.get('/unreadable').text
    assert '<bdi>&lt;b&gt;.mp4</bdi>' in page
    assert 'no moov atom' in page
    assert 'secret' not in page


def test_laboratory_words_stand_behind_a_switch(client, key_of):
    key = key_of('plain.mp4')
    for address in (
        '/',
        f'/watch/{key}',
        f'/explain/{key}',
        f'/similar/{key}',
    ):
        page = client.get(address, params=dict(q=QUERY)).text
        plain = re.sub(
            r'<details class="experts">.*?</details>', '', page, flags=re.S
        )
        for word in ('cosine', 'TPM-CL', 'masked', '[start]', 'vector'):
            assert word.lower() not in plain.lower(), (address, word)
    assert 'TPM-CL' in client.get(f'/watch/{key}?q=dog').text


def test_the_table_for_everybody_agrees_with_the_model(
    client, key_of, searcher, videos
):
    page = client.get(f'/explain/{key_of("plain.mp4")}', params=dict(q=QUERY))
    found = searcher.explain(QUERY, videos / 'plain.mp4')
    best = found.explanation.sentence.argmax()
    assert f'fits best at <strong>{found.times[best]:.1f} s<' in page.text
    table = page.text.split('<table class="fits"')[1].split('</table>')[0]
    rows = table.split('<th scope="row">')[1:]
    assert [
        re.search(r'[a-z ]{3,}', r.replace('bdi', ''))[0] for r in rows
    ] == [*('all of it', 'red', 'circle', 'rising')]
    cells = re.findall('<td class="s[^"]*"', rows[0])
    assert [' best' in cell for cell in cells].index(True) == best


def test_times_are_shown_as_players_do():
    shown = [clock(each) for each in (0, 59.94, 61.5, 3601)]
    assert shown == ['0.0 s', '59.9 s', '1:01', '1:00:01']
