"""What a person does, in a real browser."""

import time

import pytest

from mmtvr.serve.app import create_app
from mmtvr.serve.requests import BoundedExecutor, BusyError

pytest.importorskip('selenium')

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

pytestmark = pytest.mark.browser
QUERY = 'a red circle rising'


@pytest.fixture(scope='module')
def address(searcher, serving, tmp_path_factory):
    """Where the shapes are served."""
    app = create_app(searcher, 'shapes', tmp_path_factory.mktemp('cache'))
    with serving(app) as address:
        yield address


@pytest.fixture
def browser(chromium, address):
    """Chromium at the first page."""
    chromium.get(address)
    return chromium


def wait(browser, condition, seconds=15):
    return WebDriverWait(browser, seconds, 0.05).until(condition)


def find(browser, selector):
    return wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, selector))


def type_and_go(browser, text):
    find(browser, '#q').send_keys(text, Keys.ENTER)
    wait(browser, lambda b: 'q=' in b.current_url)


def focused(browser, script='return document.activeElement'):
    return browser.execute_script(script)


def moment(browser, video):
    return browser.execute_script('return arguments[0].currentTime', video)


def first_moment(card):
    """Where its first moment begins, in seconds."""
    chip = card.find_element(By.CSS_SELECTOR, '.chip')
    return float(chip.get_attribute('data-seek'))


def test_type_see_play_go_back(browser, address):
    type_and_go(browser, QUERY)
    assert browser.title.startswith(QUERY)
    cards = browser.find_elements(By.CSS_SELECTOR, '.card')
    assert len(cards) == 6
    # What can be played, from the latest beginning that there is.
    card = max(
        (card for card in cards if 'avi' not in card.text),
        key=first_moment,
    )
    shown = first_moment(card)
    poster = card.find_element(By.CSS_SELECTOR, '.play img')
    wait(browser, lambda _: int(poster.get_property('naturalWidth')) > 0)
    card.find_element(By.CSS_SELECTOR, '.play').click()
    video = find(browser, '.card video')
    wait(browser, lambda b: moment(b, video) > 0)
    first = moment(browser, video)
    assert abs(first - shown) < 0.6
    wait(browser, lambda b: moment(b, video) > first)
    assert '/video/' in video.get_property('currentSrc')
    note = card.find_element(By.CSS_SELECTOR, '.preview-note')
    assert not note.is_displayed()

    find(browser, '#q').clear()
    type_and_go(browser, 'a blue star')
    wait(browser, lambda b: b.title.startswith('a blue star'))
    browser.back()
    wait(browser, lambda b: b.title.startswith(QUERY))
    assert find(browser, '#q').get_property('value') == QUERY
    browser.forward()
    wait(browser, lambda b: b.title.startswith('a blue star'))
    assert browser.get_log('browser') == []


def test_a_word_plays_from_its_moment(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    chips = browser.find_elements(By.CSS_SELECTOR, '.card .chip')
    times = [float(chip.get_attribute('data-seek')) for chip in chips]
    place = times.index(max(times))
    card = chips[place].find_element(By.XPATH, 'ancestor::li')
    chips[place].click()
    wait(browser, lambda _: card.find_elements(By.CSS_SELECTOR, 'video'))
    video = card.find_element(By.CSS_SELECTOR, 'video')
    wait(browser, lambda b: moment(b, video) > 0)
    assert moment(browser, video) >= times[place] - 0.05


def test_a_keyboard_is_enough(browser):
    body = find(browser, 'body')
    body.send_keys(Keys.TAB)
    assert focused(browser).text == 'Skip to the results'
    assert focused(browser).rect['y'] >= 0
    focused(browser).send_keys(Keys.ENTER)
    assert focused(browser).tag_name == 'main'
    focused(browser).send_keys(Keys.CONTROL, 'k')
    assert focused(browser).get_attribute('id') == 'q'
    focused(browser).send_keys(QUERY, Keys.ENTER)
    wait(browser, lambda b: b.title.startswith(QUERY))
    find(browser, '#main').send_keys(Keys.TAB)
    assert focused(browser).text == 'Filters'
    focused(browser).send_keys(Keys.TAB)
    assert 'data-play' in focused(browser).get_property('outerHTML')
    outline = focused(
        browser,
        'return getComputedStyle(document.activeElement).outlineWidth',
    )
    assert outline == '3px'
    focused(browser).send_keys(Keys.ENTER)
    video = find(browser, '.card video')
    wait(browser, lambda b: moment(b, video) > 0)
    assert focused(browser).tag_name == 'video'


def test_the_table_opens_over_the_page_and_closes(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    link = find(browser, '[data-why]')
    link.send_keys(Keys.ENTER)
    table = find(browser, 'dialog[open] .fits')
    # All of the text, and three words.
    assert len(table.find_elements(By.CSS_SELECTOR, 'tbody .best')) == 4
    strip = table.find_element(By.CSS_SELECTOR, '.strip img')
    wait(browser, lambda _: int(strip.get_property('naturalWidth')) > 0)
    cells = table.find_elements(By.CSS_SELECTOR, 'tbody tr:first-child td')
    # The frames stand above their columns.
    assert abs(strip.rect['x'] - cells[0].rect['x']) < 2
    width = sum(cell.rect['width'] for cell in cells[:8])
    assert abs(strip.rect['width'] - width) < 3
    focused(browser).send_keys(Keys.ESCAPE)
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, '[open]'))
    assert focused(browser) == link


def test_files_that_browsers_do_not_play_have_a_preview(
    browser, address, key_of
):
    browser.get(f'{address}/watch/{key_of("old.avi")}?t=1.5')
    video = find(browser, 'video')
    wait(browser, lambda _: video.get_property('readyState') >= 2)
    assert '/preview/' in video.get_property('currentSrc')
    assert 'browsers do not play' in find(browser, '.preview-note').text
    assert abs(moment(browser, video) - 1.0) < 0.3


def test_without_scripts_pages_of_their_own_do_the_same(browser, address):
    browser.execute_cdp_cmd(
        'Emulation.setScriptExecutionDisabled', dict(value=True)
    )
    try:
        type_and_go(browser, QUERY)
        find(browser, '.card .play').click()
        wait(browser, lambda b: '/watch/' in b.current_url)
        assert find(browser, '.stage video').get_attribute('poster')
        assert find(browser, '.heat')
    finally:
        browser.execute_cdp_cmd(
            'Emulation.setScriptExecutionDisabled', dict(value=False)
        )


@pytest.mark.parametrize('width', [320, 390, 1280])
def test_nothing_is_wider_than_the_window(browser, address, width, key_of):
    size = dict(width=width, height=800, deviceScaleFactor=1, mobile=False)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    try:
        for path in ('/', '/?q=dog', f'/watch/{key_of("plain.mp4")}?q=dog'):
            browser.get(address + path)
            wide = browser.execute_script(
                'return document.documentElement.scrollWidth'
            )
            assert wide <= width, path
    finally:
        browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


def test_numbers_stay_open_for_who_opened_them(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    find(browser, '[data-why]').click()
    numbers = find(browser, 'dialog[open] .experts')
    table = numbers.find_element(By.CSS_SELECTOR, '.heat')
    assert not table.is_displayed()
    numbers.find_element(By.TAG_NAME, 'summary').click()
    wait(browser, lambda _: table.is_displayed())
    assert len(table.find_elements(By.CSS_SELECTOR, 'tbody .best')) == 7
    browser.get(f'{address}/?q={QUERY}')
    browser.get(find(browser, '.name a').get_attribute('href'))
    assert find(browser, '.experts .heat').is_displayed()
    find(browser, 'summary').click()
    wait(browser, lambda b: not find(b, '.experts .heat').is_displayed())


def test_pictures_show_when_they_are_there(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    picture = find(browser, '.play img')
    wait(browser, lambda _: 'shown' in picture.get_attribute('class'))
    browser.execute_script(
        'arguments[0].classList.remove("shown");'
        'arguments[0].src = "/poster/0"',
        picture,
    )
    # Hidden, without the frame that browsers draw, until the last try.
    wait(browser, lambda _: picture.get_attribute('data-tries'))
    assert picture.value_of_css_property('opacity') == '0'


def test_a_busy_page_comes_back_by_itself(browser, address, monkeypatch):
    asked = []

    async def run(self, *args, **options):
        asked.append(args)
        if len(asked) == 1:
            raise BusyError
        return await real(self, *args, **options)

    real = BoundedExecutor.run_batched
    monkeypatch.setattr(BoundedExecutor, 'run_batched', run)
    browser.get(f'{address}/?q={QUERY}')
    assert find(browser, '#q').get_property('value') == QUERY
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, '.card'))
    assert len(asked) == 2


def test_two_videos_do_not_play_at_once(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    links = browser.find_elements(By.CSS_SELECTOR, '[data-play]')
    for link in links[:2]:
        link.click()
    videos = browser.find_elements(By.CSS_SELECTOR, '.card video')
    assert len(videos) == 2
    wait(browser, lambda b: moment(b, videos[1]) > 0)
    time.sleep(0.1)
    assert videos[0].get_property('paused')


def test_further_results_leave_those_that_are_there(browser, address):
    browser.get(f'{address}/?q={QUERY}&k=2')
    first = find(browser, '.card .play')
    first.click()
    video = find(browser, '.card video')
    place = video.rect
    find(browser, '[data-more]').click()
    wait(
        browser,
        lambda b: len(b.find_elements(By.CSS_SELECTOR, '.card')) == 4,
    )
    # It plays on where it was.
    wait(browser, lambda b: moment(b, video) > 0)
    assert video.rect == place
    assert find(browser, '[data-last]').text == '4'
    assert '?q=' in find(browser, '[data-more]').get_attribute('href')
    assert browser.current_url.endswith('k=2')


def test_a_judgement_is_kept_and_taken_back(browser, address):
    browser.get(f'{address}/?q={QUERY}')
    right, wrong = browser.find_elements(By.CSS_SELECTOR, '.judge button')[:2]

    def pressed():
        return [b.get_attribute('aria-pressed') for b in (right, wrong)]

    right.click()
    wait(browser, lambda _: pressed() == ['true', 'false'])
    wrong.click()
    wait(browser, lambda _: pressed() == ['false', 'true'])
    browser.refresh()
    wrong = browser.find_elements(By.CSS_SELECTOR, '.judge button')[1]
    assert wrong.get_attribute('aria-pressed') == 'true'
    wrong.click()
    wait(browser, lambda _: wrong.get_attribute('aria-pressed') == 'false')
