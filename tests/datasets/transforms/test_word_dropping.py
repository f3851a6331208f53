"""DropUnimportantWords: which words may go, how often, and what stays."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from mmtvr.datasets.transforms import DropUnimportantWords
from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS

CAPTIONS = [
    'a young man is playing a guitar',
    'a man is singing on a stage',
    'a woman is cooking',
    'a man drives a red car',
    'the band is on a stage',
    'a cat is sleeping',
]
CAPTION = CAPTIONS[0]


def fit(captions=CAPTIONS, **options):
    transform = DropUnimportantWords(**options)
    transform.fit_captions(captions, 'train.json')
    return transform


def draw(transform, caption=CAPTION, times=300, **results):
    np.random.seed(0)
    return [transform(dict(text=caption, **results)) for _ in range(times)]


def is_subsequence(words, of):
    rest = iter(of)
    return all(word in rest for word in words)


def test_rest_is_a_subset_in_order_joined_by_single_spaces():
    texts = {r['text'] for r in draw(fit(), '  a young   man is\tplaying ')}
    assert len(texts) > 2
    for text in texts - {'  a young   man is\tplaying '}:
        assert text == ' '.join(text.split())
        assert is_subsequence(
            text.split(), ['a', 'young', 'man', 'is', 'playing']
        )


def test_only_the_least_telling_words_go():
    dropped = Counter()
    for results in draw(fit()):
        left = results['text'].split()
        dropped.update(set(CAPTION.split()) - set(left))
        assert len(set(CAPTION.split()) - set(left)) <= 7 // 2
    assert set(dropped) == {'a', 'is', 'man'}
    assert min(dropped.values()) > 60


def test_scores_are_those_of_scikit_learn():
    transform = fit()
    vectorizer = TfidfVectorizer(token_pattern=r'\S+').fit(CAPTIONS)
    for word, column in vectorizer.vocabulary_.items():
        assert transform._scores[word] == pytest.approx(
            vectorizer.idf_[column]
        )


def test_at_most_the_stated_number_goes():
    caption = ' '.join(f'w{i}' for i in range(40))
    transform = fit([caption], max_dropped=3)
    sizes = Counter(len(r['text'].split()) for r in draw(transform, caption))
    assert set(sizes) == {40, 39, 38, 37}
    # The number is uniform, so about 75 each of 300.
    assert min(sizes.values()) > 45


def test_each_occurrence_of_a_drawn_word_goes():
    transform = fit(max_dropped=1)
    texts = {results['text'] for results in draw(transform)}
    assert texts == {CAPTION, 'young man is playing guitar'}


def test_draws_differ_and_follow_the_seed():
    first = [results['text'] for results in draw(fit(), times=20)]
    assert len(set(first)) > 3
    assert [results['text'] for results in draw(fit(), times=20)] == first


def test_punctuation_and_capitals_do_not_matter():
    texts = {r['text'] for r in draw(fit(), 'A young Man is playing, guitar')}
    assert 'young Man playing, guitar' in texts


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(['a', 'b', 'c', 'a,', 'A', 'the', 'man,']), min_size=1
    ),
    st.integers(0, 9),
)
def test_caption_is_never_empty(words, seed):
    caption = ' '.join(words)
    np.random.seed(seed)
    text = fit([caption, 'a b'])(dict(text=caption))['text']
    assert text.strip()
    assert is_subsequence(text.split(), words)


def test_spans_follow_their_words():
    caption = "the   man's guitar is a red one"
    spans = [(6, 9), (12, 18), (24, 27)]
    words = ['man', 'guitar', 'red']
    assert [caption[i:j] for i, j in spans] == words
    transform = fit([*CAPTIONS, caption])
    seen = set()
    for results in draw(transform, caption, keyword_spans=[spans]):
        text = results['text']
        (moved,) = results['keyword_spans']
        found = [text[i:j] for i, j in moved]
        left = [w.removesuffix("'s") for w in text.split()]
        assert found == [word for word in words if word in left]
        seen.add(text)
    assert len(seen) > 2


def test_test_captions_stay_untouched():
    sample = dict(text=[CAPTION, CAPTIONS[1]])
    assert fit()(sample) == sample


def test_untaught_transform_says_what_to_do():
    with pytest.raises(SetupError, match='TextVideoDataset, or set its ann'):
        DropUnimportantWords()(dict(text='a man'))
    with pytest.raises(ValueError, match='must be positive'):
        DropUnimportantWords(max_dropped=0)


def test_annotation_file_can_teach_it(tmp_path):
    path = tmp_path / 'train.json'
    path.write_text(json.dumps({'v.mp4': CAPTIONS}))
    transform = TRANSFORMS.build(
        dict(type='mmtvr.DropUnimportantWords', ann_file=str(path))
    )
    assert transform._scores == fit()._scores
