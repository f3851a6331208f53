"""Captions that differ in little, made from those of an annotation file.

Twins and partial captions are made by rules over the parts of speech that a
tagger finds and the word lists below. How often they are right is written in
docs/explanation/evaluation.md. The format is that of
:mod:`mmtvr.evaluation.fine_grained`.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.keywords import WORD, Span, WordTagger


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SPORTS = 'basketball football soccer tennis baseball golf volleyball'
#: Of a group, each word makes a caption false that another one made true.
NOUNS = f"""
dog cat horse cow monkey elephant bird pig sheep rabbit
dogs cats horses cows monkeys elephants birds pigs rabbits
car truck motorcycle bicycle train boat airplane bus
cars trucks motorcycles bicycles trains boats buses
guitar piano violin flute trumpet
{SPORTS}
kitchen street beach classroom forest garage hospital church
shirt dress jacket sweater
table bed sofa
rice pasta pizza soup bread salad
egg potato tomato onion carrot fish chicken
eggs potatoes tomatoes onions carrots apples
knife spoon fork
"""
PEOPLE = """
man woman|men women|boy girl|boys girls|guy girl|lady man|ladies men
father mother|son daughter|brother sister|husband wife|king queen
"""
ADJECTIVES = """
red blue green yellow pink purple brown
black red|white green|grey red|gray red|orange blue
large small|big small|small large|tall short|young old|old young
male female|female male|wet dry|dry wet|empty full|happy sad|sad happy
open closed|closed open|hot cold|cold hot|short long|long short
"""
VERBS = """
sitting standing|standing sitting|sits stands|stands sits
singing dancing|dancing singing|sings dances|dances sings
opening closing|closing opening|opens closes|closes opens
pushing pulling|pulling pushing|pushes pulls|pulls pushes
walking running|running walking|walks runs|runs walks
swimming running|jumping sleeping|sleeping jumping|crying laughing
laughing crying|smiling crying|entering leaving|leaving entering
enters leaves|eating cooking|cooking eating|eats cooks|cooks eats
buying selling|selling buying|reading writing|writing reading
driving washing|drives washes|holding dropping|holds drops
talking singing|talks sings|speaking singing|speaks sings
cutting washing|cuts washes|slicing washing|lifting lowering
catching throwing|throwing catching|winning losing|losing winning
drinking spilling|kicking catching|climbing descending
"""
#: Verbs that mean something else with an object: "walks a dog".
WITHOUT_OBJECT = _words(
    """
    sitting standing sits stands singing dancing sings dances walking
    running walks runs swimming jumping sleeping talking talks speaking
    speaks
    """
)
COUNTS = (
    'two',
    'three',
    'four',
    'five',
    'six',
    'seven',
    'eight',
    'nine',
    'ten',
)
PERSONS = _words('man woman boy girl lady guy person')
ANIMATE = PERSONS | _words(
    'dog cat horse cow monkey elephant bird baby child kid'
)
CHILDREN = _words('boy boys girl girls kid kids child children baby')
#: As true the other way round.
SYMMETRIC = re.compile(
    r'(talk|speak|chat|fight|kiss|danc|sit|stand|walk|wrestl|marr|meet|hug|'
    r'compet|play|show|is$|are$)'
)
PRONOUNS = _words('he she him his her hers himself herself')
POSSESSIVES = ("'s", 's', "'")
DETERMINERS = _words('a an the his her their its some this that another each')
#: Without these a caption is not sure to stay true.
KEPT_ADJECTIVES = _words(
    """
    other same different various many several certain first last next
    second third top own dead fake toy former such main whole similar
    animated stuffed virtual high best better more most less little few
    live stainless military social special full empty
    """
)
PHRASE = re.compile(
    r'\s(?:in|on|at|near|inside|behind|under|beside|along|across|during|'
    r'around)\s(?:(?:a|an|the|his|her|their|some)\s)?(?:[\w-]+\s){0,2}[\w-]+$'
)
#: What is left after a phrase is gone must not end with one of these.
UNFINISHED = _words(
    """
    while is are was were be been being dressed looking looks look involved
    interested covered filled based shown located and or with of to from
    by for in on at as up it that who which the a an placed put puts
    putting get gets engaged sits placing set lies stars working works
    going goes into pointing points stand stands about over through onto
    off
    """
)
CLAUSE = re.compile(r',?\s(?:while|and then|then)\s.*$')


class Tagged(NamedTuple):
    """A word of a caption.

    Attributes:
        text: In lower case.
        span: Its characters.
        kind: ``'noun'``, ``'adjective'``, ``'verb'`` or ``''``.
    """

    text: str
    span: Span
    kind: str


def _read_swaps(*lists: str) -> dict[str, tuple[str, ...]]:
    """From groups (a line) and pairs (parted by |) to replacements."""
    swaps: dict[str, tuple[str, ...]] = {}
    for line in '\n'.join(lists).strip().splitlines():
        pairs = line.split('|')
        words = line.split()
        for pair in pairs if len(pairs) > 1 else []:
            word, other = pair.split()
            swaps[word] = (other,)
        for word in words if len(pairs) == 1 else []:
            swaps[word] = tuple(each for each in words if each != word)
    return swaps


def _both_ways(swaps: dict[str, tuple[str, ...]]) -> None:
    for word, others in list(swaps.items()):
        for other in others:
            swaps.setdefault(other, (word,))


NOUN_SWAPS = _read_swaps(NOUNS, PEOPLE)
_both_ways(NOUN_SWAPS)
SWAPS = {
    'noun': NOUN_SWAPS,
    'adjective': _read_swaps(ADJECTIVES),
    'verb': _read_swaps(VERBS),
}
COLOURS = _words(
    'red blue green yellow pink purple brown black white grey orange'
)


def tag_words(
    captions: Sequence[str], tagger: WordTagger
) -> Iterator[list[Tagged]]:
    """Cut captions into words and tag them."""
    for caption, tags in zip(captions, tagger.tag(captions), strict=True):
        kinds = dict(tags)
        yield [
            Tagged(word[0].lower(), word.span(), kinds.get(word.span(), ''))
            for word in WORD.finditer(caption)
        ]


def replace_words(caption: str, changes: Mapping[Span, str]) -> str:
    """Put other words in their places, with the article that fits.

    An empty string removes a word and the space behind it.
    """
    parts, place = [], 0
    for (start, end), word in sorted(changes.items()):
        before = caption[place:start]
        following = word or caption[end:].lstrip()
        vowel = following[:1].lower() in 'aeiou'
        before = re.sub(
            r'\b([aA])n?(\s+)$', rf'\1{"n" if vowel else ""}\2', before
        )
        parts += [before, word]
        place = end if word else len(caption) - len(caption[end:].lstrip())
    return ''.join([*parts, caption[place:]])


def make_twins(
    caption: str,
    words: Sequence[Tagged],
    said: frozenset[str],
    rng: np.random.Generator,
) -> Iterator[tuple[str, str]]:
    """Change one word, or swap two, so that a caption becomes false.

    Args:
        caption: A caption.
        words: Its tagged words.
        said: Words of all captions of its video; none of them is put in.
        rng: Draws among replacements.

    Yields:
        Kind and twin: ``noun``, ``adjective``, ``verb``, ``count``,
        ``order``, ``negation``.
    """
    texts = [word.text for word in words]
    for place, word in enumerate(words):
        choices = SWAPS.get(word.kind, {}).get(word.text, ())
        choices = [other for other in choices if other not in said]
        if choices and _may_change(words, place):
            other = choices[rng.integers(len(choices))]
            yield word.kind, replace_words(caption, {word.span: other})
        if word.text in COUNTS and not _is_name(words, place):
            near = [n for n in COUNTS[:4] if n not in {word.text, *said}]
            if near:
                other = near[rng.integers(len(near))]
                yield 'count', replace_words(caption, {word.span: other})
    for one, other in _exchanges(words):
        yield (
            'order',
            replace_words(
                caption, {one.span: other.text, other.span: one.text}
            ),
        )
    for place, word in enumerate(words[:-1]):
        if word.text in ('is', 'are') and place and texts[0] != 'there':
            following = words[place + 1]
            if following.kind == 'verb' and following.text.endswith('ing'):
                end = word.span[1]
                yield 'negation', f'{caption[:end]} not{caption[end:]}'


def _may_change(words: Sequence[Tagged], place: int) -> bool:
    word = words[place]
    texts = [each.text for each in words]
    following = texts[place + 1] if place + 1 < len(texts) else ''
    before = texts[place - 1] if place else ''
    if word.kind == 'noun':
        # "a man ... his" would not agree, and in "a car race" or "a dog s"
        # the word is part of another one.
        after = words[place + 1].kind if following else ''
        is_part = after == 'noun' and word.text not in SPORTS.split()
        is_person = word.text in PEOPLE.replace('|', ' ').split()
        return not (
            is_part
            or following in POSSESSIVES
            or before == '-'
            or (is_person and PRONOUNS & set(texts))
        )
    if word.kind == 'adjective':
        joined = following in ('and', 'or') or before in ('and', 'or')
        after = words[place + 1].kind if following else ''
        aged = word.text in ('young', 'old') and following in CHILDREN
        return not (joined or aged) and after in ('noun', 'adjective')
    if word.text in WITHOUT_OBJECT:
        after = words[place + 1].kind if following else ''
        return following not in DETERMINERS and after not in (
            'noun',
            'adjective',
        )
    return True


def _is_name(words: Sequence[Tagged], place: int) -> bool:
    """Whether a number counts nothing: "one of two", "number two"."""
    after = words[place + 1] if place + 1 < len(words) else None
    before = words[place - 1].text if place else ''
    counts = after is not None and after.kind in ('noun', 'adjective')
    return not counts or before in ('number', 'season', 'part', 'least')


def _exchanges(words: Sequence[Tagged]) -> Iterator[tuple[Tagged, Tagged]]:
    """Pairs of words whose exchange changes what is said."""
    colours = [
        place
        for place, word in enumerate(words[:-1])
        if word.text in COLOURS
        and word.kind == 'adjective'
        and words[place + 1].kind == 'noun'
    ]
    if len(colours) == 2:
        one, other = (words[place] for place in colours)
        same = words[colours[0] + 1].text == words[colours[1] + 1].text
        if one.text != other.text and not same:
            yield one, other
    living = [
        place
        for place, word in enumerate(words)
        if word.text in ANIMATE
        and word.kind == 'noun'
        and not (place and words[place - 1].kind)
        and not {w.text for w in words[place + 1 : place + 2]}
        & set(POSSESSIVES)
    ]
    if len(living) != 2:
        return
    one, other = (words[place] for place in living)
    if one.text == other.text:
        return
    between = words[living[0] + 1 : living[1]]
    texts = {word.text for word in between}
    verbs = [word.text for word in between if word.kind == 'verb']
    tail = {word.text for word in words[living[1] + 1 :]}
    if PRONOUNS & (texts | tail):
        return
    described = {'in', 'wearing', 'with'}
    if 'and' in texts:
        # "a man in a suit and a woman wearing brown"
        both = {one.text, other.text} <= PERSONS
        first = bool(between) and between[0].text in described
        following = words[living[1] + 1 : living[1] + 2]
        second = bool(following) and following[0].text in described
        if both and first and second:
            yield one, other
        return
    if verbs and not texts & {'with', 'or', ',', 'while', 'who', 'as'}:
        acts = [v for v in verbs if not SYMMETRIC.match(v)]
        if len(acts) == len(verbs):
            yield one, other


def make_partials(
    caption: str, words: Sequence[Tagged]
) -> Iterator[tuple[str, str]]:
    """Leave one described thing out, so that a caption stays true.

    Yields:
        Kind and partial caption: ``adjective``, ``phrase`` (where it
        happens), ``clause`` (what else happens).
    """
    for place, word in enumerate(words[1:-1], 1):
        before, after = words[place - 1], words[place + 1]
        if (
            word.kind == 'adjective'
            and word.text not in KEPT_ADJECTIVES
            and after.kind == 'noun'
            # "long legged", "red haired"
            and not after.text.endswith('ed')
            and not (word.text.endswith('ed') and before.kind == 'adjective')
            and (before.text in DETERMINERS or before.kind == 'adjective')
        ):
            yield 'adjective', replace_words(caption, {word.span: ''})
    phrase = PHRASE.search(caption.rstrip(' .'))
    if phrase:
        left = _finished(words, phrase.start())
        inside = [w for w in words if w.span[0] >= phrase.start()]
        if left and all(w.kind != 'verb' for w in inside):
            yield 'phrase', caption[: phrase.start()]
    clause = CLAUSE.search(caption)
    if clause and _finished(words, clause.start()):
        yield 'clause', caption[: clause.start()]
    for place, word in enumerate(words[:-1]):
        following = words[place + 1]
        if word.text != 'and' or following.kind != 'verb':
            continue
        same_form = any(
            w.kind == 'verb' and w.text[-1:] == following.text[-1:]
            for w in words[:place]
        )
        start = len(caption[: word.span[0]].rstrip())
        object_follows = words[place - 1].kind != 'verb'
        if same_form and object_follows and _finished(words, start):
            yield 'clause', caption[:start].rstrip(' ,')


def _finished(words: Sequence[Tagged], end: int) -> bool:
    """Whether the words in front of a place make a caption of their own."""
    left = [word for word in words if word.span[1] <= end]
    return (
        len(left) >= 3
        and any(word.kind == 'verb' for word in left)
        and left[-1].text not in UNFINISHED
    )


def make_fine_grained(
    records: Sequence[VideoCaptions],
    tagger: WordTagger,
    per_kind: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Make a set of fine-grained captions from an annotation file.

    Args:
        records: The videos of a split, in their order.
        tagger: See :func:`mmtvr.datasets.keywords.load_tagger`.
        per_kind: Largest number of records of a kind, drawn at random, at
            most one of each kind per video.
        seed: Of the draws.

    Returns:
        What JSON holds, see :mod:`mmtvr.evaluation.fine_grained`. Twins have
        no video of their own.
    """
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(
        list
    )
    for video, record in enumerate(records):
        tagged = list(tag_words(record.captions, tagger))
        said = frozenset(word.text for words in tagged for word in words)
        own = defaultdict(list)
        for caption, words in zip(record.captions, tagged, strict=True):
            for kind, text in make_twins(caption, words, said, rng):
                own['twins', kind].append((video, caption, text))
            for kind, text in make_partials(caption, words):
                own['partial', kind].append((video, caption, text))
        for key, made in own.items():
            found[key].append(made[rng.integers(len(made))])
    result = FineGrainedWriter([record.file for record in records])
    for (name, kind), made in sorted(found.items()):
        chosen = rng.permutation(len(made))[:per_kind]
        for number in sorted(chosen.tolist()):
            video, caption, text = made[number]
            result.add(name, kind, caption, text, video)
    return result.content


class FineGrainedWriter:
    """Collects records with the positions of their captions."""

    def __init__(self, videos: Sequence[str]) -> None:
        self._rows: dict[str, int] = {}
        self.content: dict[str, Any] = dict(
            texts=[], videos=list(videos), partial=[], twins=[]
        )

    def row(self, text: str) -> int:
        if text not in self._rows:
            self._rows[text] = len(self._rows)
            self.content['texts'].append(text)
        return self._rows[text]

    def add(
        self,
        name: str,
        kind: str,
        text: str,
        other: str,
        video: int,
        **more: Any,
    ) -> None:
        key = 'twin' if name == 'twins' else 'partial'
        record = {
            'kind': kind,
            'text': self.row(text),
            key: self.row(other),
            'video': video,
        }
        self.content[name].append(record | more)
