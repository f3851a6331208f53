"""Taggers: quality on hand labels, spans that hold, odd input."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from mmtvr.datasets.keywords import STOP_WORDS, find_keywords, load_tagger
from mmtvr.errors import SetupError

LABELS = Path(__file__).parents[1] / 'data' / 'key_words_60.json'


def tag(caption, tagger='hanta'):
    spans = next(find_keywords([caption], load_tagger(tagger), STOP_WORDS))
    return [caption[start:end] for start, end in spans]


def split_spans(caption):
    """Character spans of the words between white space."""
    start = 0
    for word in caption.split():
        start = caption.index(word, start)
        yield start, start + len(word)
        start += len(word)


def test_key_words_agree_with_the_hand_labels():
    labels = json.loads(LABELS.read_text())['captions']
    captions = [label['caption'] for label in labels]
    found = find_keywords(captions, load_tagger('hanta'), STOP_WORDS)
    right = total = 0
    for label, spans in zip(labels, found, strict=True):
        for place, (start, end) in enumerate(split_spans(label['caption'])):
            is_key = any(i < end and j > start for i, j in spans)
            right += is_key == (place in label['key_words'])
            total += 1
    assert len(labels) == 60
    assert total == 556
    assert right / total >= 0.975  # 0.982 measured; 0.95 is demanded


@pytest.mark.parametrize(
    ('caption', 'words'),
    [
        ('a young man is playing a guitar', 'young man playing guitar'),
        ("a man's dog doesn't run", 'man dog run'),
        ('the two of them go there very quickly', ''),
        ('someone is getting something', 'getting'),
        ('a tall dark-haired woman', 'tall dark-haired woman'),
        ('fire in a tv show', 'fire tv show'),
        ('they have been doing this', ''),
        ('A RED dog.', 'RED dog'),
        (
            'a red circle moving and a blue square then a green cross',
            'red circle moving blue square green cross',
        ),
    ],
)
def test_key_words_are_content_words(caption, words):
    assert tag(caption) == words.split()


@pytest.mark.parametrize(
    'caption', ['', '   ', '?!', '🐕', '12', 'в', 'x' * 5000, '\x00', "''"]
)
def test_odd_captions_are_tagged_quickly(caption):
    start = time.perf_counter()
    tag(caption)
    assert time.perf_counter() - start < 1


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_spans_ascend_and_hold_visible_text(caption):
    spans = next(find_keywords([caption], load_tagger('hanta'), frozenset()))
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(caption)
        assert not any(letter.isspace() for letter in caption[start:end])
        position = end


def test_german_captions_have_a_tagger():
    caption = 'Ein roter Kreis steigt nach oben, und er ist schön'
    assert tag(caption, 'hanta:de') == [
        'roter',
        'Kreis',
        'steigt',
        'schön',
    ]
    one, other = map(load_tagger, ['hanta', 'hanta:de'])
    assert one.name != other.name


def test_tagger_is_loaded_once():
    assert load_tagger('hanta') is load_tagger('hanta')


@pytest.mark.parametrize('name', ['hante', 'hanta:x', 'spacy', 'spacy:', ''])
def test_unknown_tagger_is_refused(name):
    with pytest.raises(
        ValueError, match="'hanta:de' for German, or 'spacy:MODEL'"
    ):
        load_tagger(name)


@pytest.mark.parametrize(
    ('module', 'tagger', 'extra'),
    [('HanTa', 'hanta', 'keywords'), ('spacy', 'spacy:en_x', 'spacy')],
)
def test_a_missing_tagger_names_its_extra(monkeypatch, module, tagger, extra):
    for name in [module, *(n for n in sys.modules if n.startswith('HanTa.'))]:
        monkeypatch.setitem(sys.modules, name, None)
    load_tagger.cache_clear()
    with pytest.raises(SetupError) as error:
        load_tagger(tagger)
    assert f"pip install 'mmtvr[{extra}]'" in str(error.value)
    load_tagger.cache_clear()


def test_stop_words_are_those_of_scikit_learn_less_what_a_video_shows():
    missing = ENGLISH_STOP_WORDS - STOP_WORDS
    assert STOP_WORDS < ENGLISH_STOP_WORDS
    assert len(missing) == 21
    assert {'fire', 'show', 'call', 'move'} < missing


def test_a_missing_spacy_model_names_its_command(monkeypatch):
    def load(model, exclude):
        raise OSError(f"[E050] Can't find model '{model}'")

    spacy = SimpleNamespace(load=load)
    monkeypatch.setitem(sys.modules, 'spacy', spacy)
    with pytest.raises(SetupError, match='spacy download en_x'):
        load_tagger('spacy:en_x')


def test_spacy_model_is_an_option(monkeypatch):
    class Model:
        meta = dict(lang='en', name='toy', version='1')

        def pipe(self, captions):
            kinds = dict(dog='NOUN', red='ADJ', runs='VERB', was='AUX')
            for caption in captions:
                yield [
                    SimpleNamespace(
                        idx=start,
                        text=caption[start:end],
                        pos_=kinds.get(caption[start:end], 'X'),
                    )
                    for start, end in split_spans(caption)
                ]

    spacy = SimpleNamespace(load=lambda model, exclude: Model())
    monkeypatch.setitem(sys.modules, 'spacy', spacy)
    load_tagger.cache_clear()
    assert tag('the red dog was here and runs', 'spacy:toy') == [
        *('red', 'dog', 'runs')
    ]
    assert load_tagger('spacy:toy').name == 'spacy-en_toy-1'
    load_tagger.cache_clear()
