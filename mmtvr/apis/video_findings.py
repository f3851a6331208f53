"""What is wrong, or may be wrong, with one video file."""

import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from mmtvr.apis.config_videos import VideoUse
from mmtvr.files import hash_file
from mmtvr.video import UnreadableVideoError
from mmtvr.video.asking import call_in_helper
from mmtvr.video.inspection import Inspection, inspect_video

Kind = Literal['missing', 'unreadable', 'short', 'duplicate', 'suspicious']
KINDS: tuple[Kind, ...] = Kind.__args__

LONGEST = 2 * 3600.0
SHORTEST = 0.5
SLOWEST, FASTEST = 2.0, 121.0
SMALLEST_SIDE = 32
# Of 0 to 255: black in the limited range is 16, and encoders leave some noise.
BLACK, FLAT = 24.0, 2.0


class Finding(NamedTuple):
    """One thing about one file.

    Attributes:
        kind: ``missing``; ``unreadable`` by the reader of the config, also
            for a span behind the end; ``short``, fewer frames than are asked
            for; ``duplicate``; or ``suspicious``.
        what: One sentence.
    """

    kind: Kind
    what: str


def examine_file(
    path: str,
    uses: Sequence[VideoUse],
    loaders: Sequence[Any],
    with_digest: bool,
    time_limit: float,
) -> dict:
    """Look at one file in the helper process of this thread.

    Args:
        path: The video file.
        uses: What the config reads of it.
        loaders: The transform of each data set.
        with_digest: Hash its content.
        time_limit: Seconds for each look.

    Returns:
        ``findings``, ``digest`` (or None) and ``facts`` (see
        :class:`Inspection`, or None), as JSON holds them.
    """
    if not os.path.isfile(path):
        return _result([Finding('missing', 'there is no such file')])
    if not os.path.getsize(path):
        return _result([Finding('unreadable', 'the file is empty')])
    try:
        digest = hash_file(path) if with_digest else None
        facts = call_in_helper(inspect_video, path, time_limit)
    except (OSError, UnreadableVideoError) as error:
        return _result([Finding('unreadable', _reason(path, error))])
    findings = {_try_use(use, loaders[use.dataset]): None for use in uses}
    findings = [finding for finding in findings if finding is not None]
    findings += [
        Finding('suspicious', what)
        for what in find_suspicious(Inspection(**facts))
    ]
    return _result(findings, digest, facts)


def find_suspicious(facts: Inspection) -> list[str]:
    """Say what is unusual about a video.

    Args:
        facts: What was seen of it.

    Returns:
        One sentence each.
    """
    told, held, seconds, fps = (
        facts.frames_told,
        facts.frames_held,
        facts.seconds,
        facts.fps,
    )
    sizes = ', '.join(f'{width}x{height}' for height, width in facts.sizes)
    sides = [min(size) for size in facts.sizes]
    flat = bool(facts.sizes) and facts.contrast < FLAT
    dark, bright = facts.brightness
    checks = [
        (facts.end, f'reading stopped before the end: {facts.end}'),
        (not held, 'it holds no frame'),
        (told and told != held, f'its header tells {told} frames, not {held}'),
        (seconds > LONGEST, f'it lasts {seconds / 3600:.1f} hours'),
        (0 < seconds < SHORTEST, f'it lasts {seconds:.2f} s'),
        (0 < fps < SLOWEST or fps > FASTEST, f'it has {fps:g} frames a s'),
        (len(facts.sizes) > 1, f'its size changes: {sizes}'),
        (sides and min(sides) < SMALLEST_SIDE, f'it is small: {sizes}'),
        (flat and bright < BLACK, 'all pictures looked at are black'),
        (
            flat and bright >= BLACK and bright - dark < FLAT,
            'all pictures looked at are of one colour',
        ),
    ]
    return [what for applies, what in checks if applies]


def _try_use(use: VideoUse, loader: Any) -> Finding | None:
    path = use.sample['filename']
    try:
        count = loader.count_frames(use.sample)
    except UnreadableVideoError as error:
        return Finding('unreadable', _reason(path, error))
    if count >= loader.num_frames:
        return None
    span = ''
    if 'start' in use.sample or 'end' in use.sample:
        start, end = use.sample.get('start', 0), use.sample.get('end')
        until = 'its end' if end is None else f'{end:g} s'
        span = f' from {start:g} s to {until}'
    return Finding(
        'short', f'{count} frames{span}, {loader.num_frames} are asked for'
    )


def _reason(path: str, error: Exception) -> str:
    return str(error).removeprefix(f'{path}: ')


def _result(
    findings: Sequence[Finding],
    digest: str | None = None,
    facts: dict | None = None,
) -> dict:
    return dict(findings=findings, digest=digest, facts=facts)
