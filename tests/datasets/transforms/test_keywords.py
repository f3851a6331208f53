"""TagKeyWords: tags once, keeps them, looks up in the workers."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import Mock

import pytest

from mmtvr.datasets.transforms import keywords as module
from mmtvr.registry import TRANSFORMS

CAPTIONS = ['a red dog runs', 'the man sings', 'a red dog runs']


def build(**options):
    return TRANSFORMS.build(dict(type='mmtvr.TagKeyWords', **options))


@pytest.fixture
def tagged(monkeypatch):
    """Captions that were tagged, in order."""
    seen = []
    original = module.find_keywords

    def record(captions, *args):
        seen.extend(captions)
        return original(captions, *args)

    monkeypatch.setattr(module, 'find_keywords', record)
    return seen


def words(transform, caption):
    (spans,) = transform(dict(text=caption))['keyword_spans']
    return [caption[start:end] for start, end in spans]


def test_one_caption_or_a_list_are_tagged():
    transform = build(cache=False)
    assert words(transform, CAPTIONS[0]) == ['red', 'dog', 'runs']
    results = transform(dict(text=CAPTIONS[:2], kept=1))
    assert results['keyword_spans'] == [
        [(2, 5), (6, 9), (10, 14)],
        [(4, 7), (8, 13)],
    ]
    assert results['kept'] == 1


def test_stop_words_can_be_chosen():
    transform = build(stop_words=['Red'], cache=False)
    assert words(transform, 'a red dog') == ['dog']


def test_each_distinct_caption_is_tagged_once(tagged, tmp_path):
    transform = build()
    transform.fit_captions(CAPTIONS, str(tmp_path / 'train.json'))
    assert tagged == CAPTIONS[:2]
    assert words(transform, CAPTIONS[0]) == ['red', 'dog', 'runs']
    assert tagged == CAPTIONS[:2]


def test_second_run_reads_the_cache(tagged, tmp_path):
    ann_file = str(tmp_path / 'train.json')
    build().fit_captions(CAPTIONS, ann_file)
    tagged.clear()
    transform = build()
    transform.fit_captions(CAPTIONS[::-1], ann_file)
    assert words(transform, CAPTIONS[1]) == ['man', 'sings']
    assert not tagged


@pytest.mark.parametrize('change', ['captions', 'stop words', 'damage'])
def test_cache_is_not_used_for_anything_else(tagged, tmp_path, change):
    ann_file = str(tmp_path / 'train.json')
    build().fit_captions(CAPTIONS, ann_file)
    tagged.clear()
    options, captions = {}, list(CAPTIONS)
    if change == 'captions':
        captions.append('a cat')
    elif change == 'stop words':
        options['stop_words'] = ['red']
    else:
        for path in (tmp_path / '.mmtvr_cache').glob('*.npz'):
            path.write_bytes(b'damaged')
    build(**options).fit_captions(captions, ann_file)
    assert tagged == list(dict.fromkeys(captions))


def test_unwritable_folder_falls_back_to_the_user_cache(
    tagged, tmp_path, monkeypatch
):
    # A file in the way stands for a read-only folder, which root can write.
    (tmp_path / '.mmtvr_cache').write_text('in the way')
    elsewhere = tmp_path / 'user'
    monkeypatch.setattr(module, 'user_cache_path', lambda name: elsewhere)
    for _ in range(2):
        transform = build()
        transform.fit_captions(CAPTIONS, str(tmp_path / 'train.json'))
    assert tagged == CAPTIONS[:2]
    assert list(elsewhere.glob('*.npz'))
    monkeypatch.setattr(
        module, 'user_cache_path', lambda name: tmp_path / '.mmtvr_cache'
    )
    transform = build()
    transform.fit_captions(CAPTIONS, str(tmp_path / 'train.json'))
    assert words(transform, CAPTIONS[1]) == ['man', 'sings']


def test_concurrent_processes_tag_once(tagged, tmp_path):
    transforms = [build() for _ in range(4)]

    def fit(transform):
        transform.fit_captions(CAPTIONS, str(tmp_path / 'train.json'))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fit, transforms))
    assert tagged == CAPTIONS[:2]


def test_pickled_transform_carries_the_tags_and_no_model(tagged, tmp_path):
    transform = build()
    transform.fit_captions(CAPTIONS, str(tmp_path / 'train.json'))
    content = pickle.dumps(transform)
    assert len(content) < 10_000
    tagged.clear()
    assert words(pickle.loads(content), CAPTIONS[1]) == ['man', 'sings']
    assert not tagged


def test_unknown_tagger_is_refused_at_once():
    with pytest.raises(ValueError, match='tagger must be'):
        build(tagger='unknown')


@pytest.mark.parametrize(
    ('tagger', 'captions', 'warned'),
    [
        ('hanta', ['ein schöner Mann singt', *CAPTIONS], True),
        ('hanta', ['人は歌う', *CAPTIONS], True),
        ('hanta:de', ['ein schöner Mann singt', *CAPTIONS], False),
        ('hanta', ['a café', *(f'dog {i}' for i in range(20))], False),
    ],
)
def test_captions_that_are_hardly_english_are_reported(
    tagger, captions, warned, monkeypatch
):
    log = Mock()
    monkeypatch.setattr(module, 'print_log', log)
    build(tagger=tagger, cache=False).fit_captions(captions, '')
    assert log.called == warned
    assert not warned or captions[0] in log.call_args.args[0]
