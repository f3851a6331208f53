"""Test protocols of the field by name, and what can be reached under them."""

from typing import Literal, NamedTuple, get_args

# Where the best match stands among items that score the same.
TiePolicy = Literal['optimistic', 'pessimistic', 'expected']
TIE_POLICIES: tuple[TiePolicy, ...] = get_args(TiePolicy)


class Protocol(NamedTuple):
    """How a test set is asked.

    Attributes:
        name: Name of the data set and of the protocol.
        texts: Number of texts, each a query; None where none is established.
        videos: Number of videos.
        ceiling: Text-to-video R@1 in percent that no system can exceed
            without luck, as equal texts of different videos get equal ranks;
            None where the captions were not at hand.
        about: What is asked, in words.
    """

    name: str
    texts: int | None
    videos: int | None
    ceiling: float | None
    about: str


_ALL = (
    Protocol(
        'msrvtt/1k-A',
        *(1000, 1000, 99.5),
        'the JSFusion test split, one sentence per video',
    ),
    Protocol(
        'msrvtt/full',
        *(59800, 2990, 92.82),
        'the official test split, twenty captions per video; video to text '
        'any of them',
    ),
    Protocol(
        'msvd/all-captions',
        *(27763, 670, 91.41),
        'every caption is a query; video to text any of them',
    ),
    Protocol(
        'msvd/one-caption',
        *(670, 670, None),
        'one caption per video, which depends on the choice',
    ),
    Protocol(
        'didemo/paragraph',
        *(1004, 1004, 100.0),
        'all descriptions of a video joined, against its first 31 seconds',
    ),
    Protocol(
        'activitynet/paragraph-val_1',
        *(4917, 4917, 100.0),
        'all sentences of a video joined, against the whole video',
    ),
    Protocol(
        'lsmdc/test', *(1000, 1000, None), 'one sentence per clip of a film'
    ),
    Protocol(
        'vatex/test-1500',
        *(15000, 1500, None),
        'ten English captions per video; video to text any of them',
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def find_protocol(name: str) -> Protocol:
    """The protocol of a name.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in PROTOCOLS:
        raise ValueError(
            f'there is no protocol {name!r}, known are {sorted(PROTOCOLS)}'
        )
    return PROTOCOLS[name]


def describe_misfit(protocol: Protocol, texts: int, videos: int) -> str | None:
    """Warn of a table that is not of the size of a protocol, or None."""
    known = (protocol.texts or texts, protocol.videos or videos)
    if known == (texts, videos):
        return None
    return (
        f'{protocol.name} has {known[0]:,} texts and {known[1]:,} videos, '
        f'this table has {texts:,} and {videos:,}: its numbers are no result '
        'under this protocol'
    )


def describe_protocol(name: str, texts: int, videos: int) -> dict[str, str]:
    """Facts about a protocol, for the head of a report.

    They include a warning where the numbers of texts and videos at hand do
    not fit.

    Raises:
        ValueError: If there is no such protocol.
    """
    protocol = find_protocol(name)
    facts = {'protocol': f'{name}: {protocol.about}'}
    if protocol.ceiling is not None:
        facts['ceiling'] = (
            f'{protocol.ceiling:g} % t2v R@1, set by equal captions of '
            'different videos'
        )
    misfit = describe_misfit(protocol, texts, videos)
    if misfit:
        facts['warning'] = misfit
    return facts
