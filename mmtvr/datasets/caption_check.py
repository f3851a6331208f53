"""What is odd in the captions of a data set but no error."""

from collections.abc import Iterator, Sequence

from mmtvr.datasets.preparation.video_captions import VideoCaptions
from mmtvr.datasets.wording import CONTROL, brief


def find_oddities(records: Sequence[VideoCaptions]) -> Iterator[str]:
    """Count captions that stand twice or hold control characters.

    They are kept as they are.

    Args:
        records: The videos of an annotation file.

    Yields:
        A sentence for each kind that occurs.
    """
    twice = [
        (record.file, caption)
        for record in records
        if len(set(record.captions)) < len(record.captions)
        for caption in _find_repeated(record.captions)
    ]
    if twice:
        yield (
            f'{len(twice):,} captions repeat another of the same video, the '
            f'first is {brief(twice[0][1])} of {twice[0][0]}; each counts'
        )
    marked = [
        (record.file, caption)
        for record in records
        for caption in record.captions
        if CONTROL.search(caption)
    ]
    if marked:
        yield (
            f'{len(marked):,} captions hold control characters, the first is '
            f'{brief(marked[0][1])} of {marked[0][0]}; they are kept'
        )


def _find_repeated(captions: Sequence[str]) -> Iterator[str]:
    seen = set()
    for caption in captions:
        if caption in seen:
            yield caption
        seen.add(caption)
