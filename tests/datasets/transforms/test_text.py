"""TokenizeText: pieces, cuts, and weights on all pieces of a key word."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from mmtvr import pretrained
from mmtvr.datasets.transforms import text
from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS


@pytest.fixture(scope='module')
def build(tiny_clip):
    def build(**options):
        defaults = dict(type='mmtvr.TokenizeText', tokenizer=str(tiny_clip))
        return TRANSFORMS.build({**defaults, **options})

    return build


@pytest.fixture(scope='module')
def reference(tiny_clip):
    return AutoTokenizer.from_pretrained(tiny_clip)


def test_tokens_equal_those_of_the_library(build, reference):
    captions = ['a young man is playing a guitar', 'the red dog runs']
    results = build()(dict(text=captions, kept=1))
    expected = reference(
        captions, padding='max_length', max_length=32, return_tensors='np'
    )
    np.testing.assert_array_equal(results['tokens'], expected['input_ids'])
    np.testing.assert_array_equal(
        results['token_mask'], expected['attention_mask'].astype(bool)
    )
    assert results['tokens'].dtype == np.int64
    assert results['token_mask'].dtype == bool
    assert results['cut_pieces'].tolist() == [0, 0]
    assert 'token_weight' not in results
    assert results['kept'] == 1


def test_single_caption_gives_one_row(build):
    results = build(max_words=12)(dict(text='the man runs'))
    assert results['tokens'].shape == results['token_mask'].shape == (1, 12)
    assert results['cut_pieces'].shape == (1,)


def test_cut_keeps_the_end_token_and_counts(build, reference):
    caption = 'a dog runs ' * 4
    whole = reference(caption)['input_ids']
    results = build(max_words=8)(dict(text=[caption, 'a dog']))
    expected = [*whole[:7], reference.eos_token_id]
    assert results['tokens'][0].tolist() == expected
    assert results['token_mask'][0].all()
    assert results['cut_pieces'].tolist() == [len(whole) - 8, 0]


def test_more_words_than_positions_are_refused(build):
    assert build(max_words=77).max_words == 77
    with pytest.raises(SetupError, match=r'max_words=78.* 77 positions'):
        build(max_words=78)
    with pytest.raises(ValueError, match='SOT and EOT'):
        build(max_words=1)


@pytest.fixture
def by_sentences(build):
    options = dict(long_text='sentences', max_words=6, max_sentences=4)
    return build(**options)


def read_rows(tokens, mask, reference):
    """The rows as text again, without the special tokens."""
    return [
        reference.decode(row[keep][1:-1]).strip()
        for row, keep in zip(tokens, mask, strict=True)
        if keep.any()
    ]


def test_long_caption_becomes_a_row_per_sentence(by_sentences, reference):
    caption = 'a man runs. the dog runs! is the dog red? a man.'
    result = by_sentences(dict(text=caption, keyword_spans=[[(2, 5)]]))
    (tokens,), (mask,) = result['tokens'], result['token_mask']
    assert tokens.shape == mask.shape == (4, 6)
    assert read_rows(tokens, mask, reference)[:2] == [
        *('a man runs .', 'the dog runs !')
    ]
    for row, keep in zip(tokens, mask, strict=True):
        assert row[0] == reference.bos_token_id
        assert row[keep][-1] == reference.eos_token_id
    (weight,) = result['token_weight']
    assert weight[0].tolist() == [1, 1, 2, 1, 1, 1]


def test_caption_that_fits_stays_one_row(by_sentences, build):
    short = 'a dog. man'
    result = by_sentences(dict(text=[short]))
    whole = build(max_words=6)(dict(text=[short]))
    np.testing.assert_array_equal(result['tokens'][:, 0], whole['tokens'])
    np.testing.assert_array_equal(
        result['token_mask'][:, 0], whole['token_mask']
    )
    assert not result['token_mask'][:, 1:].any()


def test_sentence_longer_than_a_row_goes_on_in_the_next(
    by_sentences, reference
):
    words = ['a', 'young', 'man', 'is', 'the', 'red', 'dog', 'runs', 'a']
    result = by_sentences(dict(text=' '.join(words)))
    rows = read_rows(result['tokens'][0], result['token_mask'][0], reference)
    assert ' '.join(rows).split() == words
    assert result['cut_pieces'].tolist() == [0]


def test_rows_behind_the_last_are_counted_as_cut(by_sentences):
    result = by_sentences(dict(text=['a dog ' * 20, 'a dog']))
    assert result['token_mask'][0].all()
    assert result['cut_pieces'].tolist() == [40 - 4 * 4, 0]


@pytest.mark.parametrize(
    ('options', 'finding'),
    [(dict(long_text='cut'), 'truncate'), (dict(max_sentences=0), 'positive')],
)
def test_options_without_meaning_are_refused(build, options, finding):
    with pytest.raises(ValueError, match=finding):
        build(**options)


def test_missing_tokenizer_is_one_setup_error(build, tmp_path):
    with pytest.raises(SetupError, match='nothing-here'):
        build(tokenizer=str(tmp_path / 'nothing-here'))


@pytest.mark.parametrize(
    ('caption', 'words'),
    [
        ('a young man is playing a guitar', ['young', 'man', 'guitar']),
        ('  A   YOUNG\tman  ', ['YOUNG', 'man']),
        ("the man's café, red!", ['man', 'café', 'red']),
        ('naïve 人 dog 🐕 runs', ['naïve', 'dog', 'runs']),
        ('t-shirts and 3d', ['t-shirts', '3d']),
    ],
)
def test_weight_is_on_all_pieces_of_key_words_only(
    build, reference, caption, words
):
    spans = [(caption.index(w), caption.index(w) + len(w)) for w in words]
    results = build(max_words=64)(dict(text=caption, keyword_spans=[spans]))
    (weight,), (tokens,) = results['token_weight'], results['tokens']
    assert weight.dtype == np.float32
    # Piece by piece: the key words alone make the heavy pieces, in order.
    heavy = tokens[weight == 2].tolist()
    alone = [
        piece
        for word in words
        for piece in reference(word, add_special_tokens=False)['input_ids']
    ]
    assert heavy == alone
    (mask,) = results['token_mask']
    assert set(weight[mask].tolist()) <= {1.0, 2.0}
    assert not weight[~mask].any()
    assert weight[0] == weight[mask.sum() - 1] == 1


def test_golden_caption_weights_its_four_key_words(build):
    # Test 24 of the method: nouns, adjectives and verbs get 2.
    caption = 'a young man is playing a guitar'
    tagged = TRANSFORMS.build(dict(type='mmtvr.TagKeyWords'))(
        dict(text=caption)
    )
    results = build(max_words=32)(tagged)
    spans = tagged['keyword_spans'][0]
    assert [caption[i:j] for i, j in spans] == [
        *('young', 'man', 'playing', 'guitar')
    ]
    pieces = [1, 1, 1, len('playing'), len('guitar')]
    expected = [1, 1, 2, 2, 1, *[2] * pieces[3], 1, *[2] * pieces[4], 1]
    weight = results['token_weight'][0]
    assert weight[: len(expected)].tolist() == expected
    assert not weight[len(expected) :].any()


def test_key_word_behind_the_cut_has_no_weight_left(build):
    caption = 'a dog runs the guitar'
    spans = [[(2, 5), (15, 21)]]
    results = build(max_words=4, keyword_weight=3.0)(
        dict(text=caption, keyword_spans=spans)
    )
    assert results['token_weight'].tolist() == [[1, 1, 3, 1]]


def test_caption_without_key_words_is_weighted_evenly(build):
    results = build(max_words=8)(dict(text=['a dog'], keyword_spans=[[]]))
    assert results['token_weight'].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_spans_must_match_the_captions(build):
    with pytest.raises(ValueError, match='shorter'):
        build()(dict(text=['a', 'b'], keyword_spans=[[]]))


def test_text_is_not_altered_by_long_or_odd_input(build):
    text = ['🐕' * 50, 'word ' * 10_000, 'שלום עולם', '\x00\x07 a']
    results = build()(dict(text=text))
    assert results['text'] == text
    assert (results['cut_pieces'] >= 0).all()
    assert results['cut_pieces'][1] > 9_000


@pytest.mark.parametrize(
    'duplicate', [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_tokenize_alike(build, duplicate):
    transform = build()
    sample = dict(text='a young man', keyword_spans=[[(2, 7)]])
    first, second = transform(sample), duplicate(transform)(sample)
    for key in ('tokens', 'token_mask', 'token_weight', 'cut_pieces'):
        np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize(
    ('tokenizer', 'finding'),
    [
        (SimpleNamespace(is_fast=False), 'no character offsets'),
        (
            SimpleNamespace(
                is_fast=True,
                backend_tokenizer=Tokenizer(models.WordLevel({'a': 0})),
                pad_token_id=None,
                unk_token_id=None,
                model_max_length=32,
            ),
            'no padding',
        ),
    ],
)
def test_tokenizer_that_lacks_something_is_refused(
    build, monkeypatch, tokenizer, finding
):
    monkeypatch.setattr(pretrained, '_read_word_pieces', lambda *args: None)
    monkeypatch.setattr(pretrained, 'load_tokenizer', lambda *args: tokenizer)
    with pytest.raises(SetupError, match=finding):
        build()


@pytest.mark.parametrize(
    ('caption', 'expected'),
    [
        ('a dog runs', ['a', 'dog', 'runs']),
        # Whole words are few; the others fall into letters.
        ('A cat.', ['A', 'c', '-a', '-t', '.']),
        ('dog\n<b>', ['dog', '<', 'b', '>']),
        # Four bytes of one character, named once.
        ('\N{DOG FACE}', ['\N{DOG FACE}', '-', '-', '-']),
        ('כלב', ['כ', '-', '-ל', '-', '-ב', '-']),
    ],
)
def test_pieces_are_named_as_the_caption_writes_them(
    tiny_clip, caption, expected
):
    transform = text.TokenizeText(str(tiny_clip), max_words=16)
    names = transform.name_pieces(caption)
    assert names == ['[start]', *expected, '[end]']
    mask = transform(dict(text=caption))['token_mask']
    assert mask.sum() == len(names)


def test_pieces_of_long_captions_have_a_name_in_every_row(tiny_clip):
    transform = text.TokenizeText(
        str(tiny_clip), max_words=6, long_text='sentences'
    )
    caption = 'a dog runs. the red dog runs. the man is young and is a man'
    mask = transform(dict(text=caption))['token_mask']
    names = transform.name_pieces(caption)
    assert mask.sum() == len(names)
    assert names.count('[start]') == mask.any(-1).sum() > 2


@pytest.mark.parametrize(
    ('family', 'lead', 'tail'), [('siglip', 0, 1), ('videoprism', 0, 0)]
)
def test_captions_without_a_start_token(dual_model, family, lead, tail):
    folder = str(dual_model(family))
    long = ' '.join(['red'] * 6 + ['circle.'] + ['blue'] * 3)
    transform = text.TokenizeText(folder, max_words=5)
    sample = transform(dict(text=long))
    find = transform.word_pieces.backend.token_to_id
    red, end = find('red'), find('<eos>')
    kept = 5 - lead - tail
    assert sample['tokens'].tolist() == [[red] * kept + [end] * tail]
    with pytest.warns(DeprecationWarning, match='word_pieces'):
        assert transform.tokenizer.convert_tokens_to_ids('red') == red
    # The period is a piece of its own.
    assert sample['cut_pieces'] == 11 - kept
    names = transform.name_pieces(long)
    assert names == ['red'] * kept + ['[end]'] * tail
    rows = text.TokenizeText(
        folder, max_words=5, long_text='sentences', max_sentences=4
    )
    sample = rows(dict(text=long))
    assert sample['cut_pieces'] == 0
    assert sample['token_mask'].sum() == 11 + tail * (
        sample['token_mask'].any(-1).sum()
    )


def test_lowercase_keeps_the_caption_in_names(dual_model):
    folder = str(dual_model('siglip'))
    as_written = text.TokenizeText(folder, max_words=8)
    lower = text.TokenizeText(folder, max_words=8, lowercase=True)
    # The first letter becomes two.
    caption = '\u0130 A Red CIRCLE'
    expected = as_written(dict(text=caption.lower()))['tokens']
    assert lower(dict(text=caption))['tokens'].tolist() == expected.tolist()
    assert as_written(dict(text=caption))['tokens'].tolist() != (
        expected.tolist()
    )
    assert lower.name_pieces(caption)[-4:] == ['A', 'Red', 'CIRCLE', '[end]']


SHAPES = 'mmtvr://moving-shapes-clip'


@pytest.mark.parametrize(
    ('caption', 'unknown', 'is_unknown'),
    [
        ('a red circle rising', (), False),
        ('a red circle, rising!', (), False),
        ('a Red kreis and a kreis', ('kreis',), False),
        ('一个红色的圆', ('一个红色的圆',), True),
        ('asdkjhasd qwe', ('asdkjhasd', 'qwe'), True),
    ],
)
def test_words_that_a_tokenizer_does_not_know_are_named(
    caption, unknown, is_unknown
):
    reading = text.TokenizeText(SHAPES, max_words=24).read_caption(caption)
    assert set(unknown) <= set(reading.unknown)
    assert bool(unknown) == bool(reading.unknown)
    assert reading.is_unknown == is_unknown
    assert bool(reading.describe()) == bool(unknown)


def test_a_text_that_is_cut_says_where(tiny_clip):
    tokenize = text.TokenizeText(str(tiny_clip), max_words=5)
    assert tokenize.read_caption('a red dog').cut == ''
    reading = tokenize.read_caption('the young man runs a red dog')
    assert (reading.cut, reading.unknown) == ('runs a red dog', ())
    assert 'runs a red dog' in reading.describe()
    rows = text.TokenizeText(
        str(tiny_clip), max_words=5, long_text='sentences', max_sentences=2
    )
    # Rows: the young man, its full stop.
    assert rows.read_caption('the young man. the dog').cut == 'the dog'


def test_captions_that_are_not_read_are_counted_at_the_start(monkeypatch):
    tokenize = text.TokenizeText(SHAPES, max_words=6)
    captions = [
        'a red circle',
        '红色',
        '圆',
        'a red kreis',
        'a red circle and a blue star and a green square',
    ]
    finding = tokenize.describe_captions(captions)
    assert "'kreis'" in finding
    assert '3 of 5 captions hold words' in finding
    assert '2 hold no other' in finding
    assert '1 of 5 captions are cut to max_words=6' in finding
    assert tokenize.describe_captions(captions[:1] * 3) == ''
    logged = []
    monkeypatch.setattr(
        text, 'print_log', lambda line, *_: logged.append(line)
    )
    tokenize.fit_captions(captions, 'train.json')
    assert logged == [f'train.json: {finding}.']
    monkeypatch.setattr(text, 'MAX_LOOKED_AT', 2)
    assert '1 of 2 (of 5) captions' in tokenize.describe_captions(captions)
