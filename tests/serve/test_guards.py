import io
import json
import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import mmtvr.serve
from mmtvr.serve.app import Access, create_app
from mmtvr.serve.guards import RateLimit

STYLE = Path(mmtvr.serve.__file__).parent / 'static/page.css'
TOKEN = 'a secret of some length'
WEIGHTS = (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize(
    'address', ['/', '/?q=dog', '/health', '/static/page.js', '/nothing']
)
def test_every_answer_has_safe_headers(client, address):
    headers = client.get(address).headers
    policy = headers['content-security-policy']
    assert "default-src 'self'" in policy
    assert 'unsafe' not in policy
    assert headers['x-content-type-options'] == 'nosniff'
    assert headers['referrer-policy'] == 'no-referrer'
    assert headers['cross-origin-resource-policy'] == 'same-origin'
    assert 'server' not in headers


def test_pages_hold_nothing_that_the_policy_forbids(client):
    page = client.get('/?q=dog').text
    assert not re.search(r'\sstyle=|\son\w+="|javascript:', page)
    for script in re.findall('<script[^>]*>', page):
        assert script == '<script src="/static/page.js" defer>'
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


@pytest.mark.parametrize(
    ('host', 'status'),
    [
        ('127.0.0.1:8000', 200),
        ('localhost:8000', 200),
        ('LOCALHOST', 200),
        ('[::1]:8000', 200),
        ('192.168.0.7:8000', 200),
        ('videos.test', 200),
        ('evil.example', 400),
        ('evil.example:8000', 400),
        ('localhost.evil.example', 400),
        ('127.0.0.1.evil.example', 400),
        ('', 400),
        ('[::1', 400),
    ],
)
def test_other_names_are_refused(client, host, status):
    answer = client.get('/health', headers=dict(host=host))
    assert answer.status_code == status
    assert 'content-security-policy' in answer.headers


@pytest.mark.parametrize(
    ('site', 'mode', 'dest', 'pages', 'parts'),
    [
        ('same-origin', 'cors', 'empty', 200, 200),
        ('none', 'navigate', 'document', 200, 200),
        ('cross-site', 'no-cors', 'video', 403, 403),
        ('cross-site', 'no-cors', 'image', 403, 403),
        ('cross-site', 'cors', 'empty', 403, 403),
        ('same-site', 'no-cors', 'image', 403, 403),
        # A link to a search may be sent.
        ('cross-site', 'navigate', 'document', 200, 403),
        ('cross-site', 'navigate', 'iframe', 403, 403),
    ],
)
def test_pages_of_other_sites_start_no_work(
    client, key_of, site, mode, dest, pages, parts
):
    headers = {
        'sec-fetch-site': site,
        'sec-fetch-mode': mode,
        'sec-fetch-dest': dest,
    }
    key = key_of('plain.mp4')
    for address in ('/', '/?q=dog', f'/watch/{key}'):
        assert client.get(address, headers=headers).status_code == pages
    for kind in ('video', 'poster', 'strip', 'preview', 'api/similar'):
        answer = client.get(f'/{kind}/{key}', headers=headers)
        assert answer.status_code == parts
    answer = client.get('/api/search?q=dog', headers=headers)
    assert answer.status_code == parts


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in channels
    ]
    return sum(w * c for w, c in zip(WEIGHTS, linear, strict=True))


def contrast(first, second):
    bright, dark = sorted(map(luminance, (first, second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_texts_have_the_contrast_that_wcag_asks_for():
    style = STYLE.read_text()
    schemes = [
        dict(re.findall(r'--([\w-]+): (#\w{6})', block))
        for block in re.findall(r':root \{(.*?)\}', style, re.S)
    ]
    assert len(schemes) == 2
    for colours in schemes:
        for text in ('ink', 'soft', 'link'):
            for ground in ('paper', 'card'):
                assert contrast(colours[text], colours[ground]) >= 4.5
        assert contrast(colours['on-accent'], colours['accent']) >= 4.5
        assert contrast(colours['focus'], colours['paper']) >= 3
    shades = re.findall(
        r'\.s\d+ \{ background: (#\w{6}); color: (#\w{6})', style
    )
    assert len(shades) == 11
    for ground, text in shades:
        assert contrast(ground, text) >= 4.5


@pytest.fixture(scope='module')
def guarded(searcher, tmp_path_factory):
    """Ask an application that asks for a token, and its access log."""
    log = io.StringIO()
    access = Access(TOKEN, 20.0, log)
    cache = tmp_path_factory.mktemp('cache')
    app = create_app(searcher, 'one', cache, access=access)
    with TestClient(app, base_url='http://localhost') as client:
        yield client, log


def test_who_does_not_know_the_token_gets_nothing(guarded):
    client, _ = guarded
    for path in ('/', '/api/search?q=red', '/metrics', '/health', '/video/x'):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert 'plain' not in answer.text
    assert 'Token of this server' in client.get('/').text
    for header in (f'Bearer {TOKEN}x', f'Basic {TOKEN}', 'Bearer', 'é'):
        headers = {'authorization': header.encode('latin-1')}
        assert client.get('/health', headers=headers).status_code == 401
    headers = {'authorization': f'Bearer {TOKEN}'}
    assert client.get('/health', headers=headers).status_code == 200


def test_a_browser_logs_in_once(guarded):
    client, _ = guarded
    wrong = client.post('/login', data=dict(token='wrong'))
    assert (wrong.status_code, 'not the token' in wrong.text) == (401, True)
    answer = client.post(
        '/login', data=dict(token=TOKEN), follow_redirects=False
    )
    cookie = answer.headers['set-cookie']
    assert TOKEN not in cookie
    assert 'HttpOnly' in cookie
    assert 'SameSite=strict' in cookie
    assert client.get('/?q=red').status_code == 200
    client.cookies.clear()
    assert client.get('/?q=red').status_code == 401


def test_the_log_and_metrics_say_nothing_of_queries(guarded):
    client, log = guarded
    headers = {'authorization': f'Bearer {TOKEN}'}
    client.get('/api/search?q=secretword', headers=headers)
    client.get('/made-up-secretword', headers=headers)
    last, other = map(json.loads, log.getvalue().splitlines()[-2:])
    assert (last['route'], last['status']) == ('/api', 200)
    assert other['route'] == 'other'
    text = client.get('/metrics', headers=headers).text
    assert (
        'mmtvr_requests_total{method="GET",route="/api",status="200"' in text
    )
    assert 'mmtvr_request_seconds_bucket' in text
    assert 'secretword' not in text + log.getvalue()


def test_who_asks_too_often_waits(monkeypatch):
    now = [0.0]
    monkeypatch.setattr('mmtvr.serve.guards.time.monotonic', lambda: now[0])
    limit = RateLimit(None, rate=2.0, burst=3)
    assert [limit._take('a') for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit._take('b') == 0
    now[0] = 0.5
    assert limit._take('a') == 0
    now[0] = 100.0
    # Those that asked for nothing lately are forgotten.
    assert limit._take('c') == 0
    assert list(limit._buckets) == ['c']
