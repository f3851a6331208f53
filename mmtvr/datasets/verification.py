"""Verify the videos of data sets: what is missing, unreadable or suspicious.

``collect_datasets`` and ``collect_benchmark`` list what is to be read,
``verify`` examines each file once. ``mmtvr.cli.verify`` holds the commands.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

import mmtvr
from mmtvr.datasets.annotations import (
    VideoCaptions,
    complete_names,
    find_path_escape,
    read_annotations,
)
from mmtvr.datasets.readers import get_reader
from mmtvr.datasets.video_check import CheckedFiles, thread_map
from mmtvr.errors import SetupError
from mmtvr.files import hash_file
from mmtvr.registry import DATASETS, TRANSFORMS
from mmtvr.video import UnreadableVideoError
from mmtvr.video.cache import decoder_versions
from mmtvr.video.inspection import Inspection, inspect_video
from mmtvr.video.supervised_reader import call_in_decoder_process, supervise

Kind = Literal['missing', 'unreadable', 'short', 'duplicate', 'suspicious']
KINDS: tuple[Kind, ...] = Kind.__args__
# Of these no sample can be made.
ERRORS: tuple[Kind, ...] = ('missing', 'unreadable')
TIME_LIMIT = 60.0

MAX_SECONDS, MIN_SECONDS = 2 * 3600.0, 0.5
MIN_FPS, MAX_FPS = 2.0, 121.0
MIN_SIDE = 32
# Of 0 to 255: black in the limited range is 16, and encoders leave some noise.
BLACK, FLAT = 24.0, 2.0


class Problem(NamedTuple):
    """A problem of a file.

    Attributes:
        kind: ``missing``; ``unreadable`` by the reader of the data set, also
            for a span after the end and a file outside the folder;
            ``short``, fewer frames than are asked for; ``duplicate``; or
            ``suspicious``.
        what: One sentence.
    """

    kind: Kind
    what: str


class Use(NamedTuple):
    """A video, or a span of one, of a data set.

    Attributes:
        dataset: Position of the data set.
        file: Its name in the annotation file.
        sample: ``filename`` and, if they count, ``start`` and ``end``.
    """

    dataset: int
    file: str
    sample: dict


@dataclass
class Dataset:
    """An annotation file with its videos.

    Attributes:
        label: Its name in reports.
        stages: Out of train, val and test.
        ann_file: Its annotation file.
        folder: Its folder of videos.
        loader: What reads its videos: has ``num_frames`` and
            ``count_frames(sample)``, see :class:`LoadVideoFrames`.
        records: Its videos.
        allow_outside: Whether files outside the folder are read.
    """

    label: str
    stages: list[str]
    ann_file: str
    folder: str
    loader: Any
    records: list[VideoCaptions]
    allow_outside: bool = False

    @property
    def captions(self) -> int:
        """Number of captions."""
        return sum(len(record.captions) for record in self.records)


@dataclass
class Collection:
    """What is to be verified.

    Attributes:
        datasets: Each once, also where two stages share it.
        files: Path to its uses.
        others: Types of data sets of other libraries, which are not checked.
    """

    datasets: list[Dataset] = field(default_factory=list)
    files: dict[str, list[Use]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)

    def add(self, dataset: Dataset, spans: bool = True) -> None:
        """Add a data set; without spans, whole files count."""
        number = len(self.datasets)
        self.datasets.append(dataset)
        for record in dataset.records:
            path = str(Path(dataset.folder) / record.file)
            span = dict(start=record.start, end=record.end) if spans else {}
            sample = {k: v for k, v in span.items() if v is not None}
            use = Use(number, record.file, dict(filename=path, **sample))
            self.files.setdefault(path, []).append(use)


def collect_datasets(nodes: Iterable[tuple[str, dict]]) -> Collection:
    """Read the annotation files of the data sets of a config.

    Videos, model and tokenizer need not exist.

    Args:
        nodes: Stage and dict with a ``type``, of every data set, wrapped ones
            and their wrappers included.

    Raises:
        SetupError: An annotation file is missing, or no data set is of this
            project.
    """
    # Here, so that a command line names the kinds of problems without PyTorch.
    from mmtvr.datasets.text_video import TextVideoDataset

    found = Collection()
    for stage, node in nodes:
        kind = DATASETS.get(str(node['type']))
        if isinstance(kind, type) and issubclass(kind, TextVideoDataset):
            _add_dataset(found, stage, node)
        elif kind is not None and 'pipeline' in node:
            found.others.add(str(node['type']))
    if not found.datasets:
        raise SetupError(
            'the config has no data set that is a mmtvr.TextVideoDataset; it '
            f'has {", ".join(sorted(found.others)) or "none at all"}'
        )
    return found


def _add_dataset(found: Collection, stage: str, node: dict) -> None:
    # The other transforms may need weights or a network.
    steps = [
        dict(step)
        for step in node.get('pipeline') or ()
        if hasattr(TRANSFORMS.get(str(step['type'])), 'count_frames')
    ] or [dict(type='mmtvr.LoadVideoFrames')]
    dataset = DATASETS.build({**node, 'pipeline': steps, 'lazy_init': True})
    loader = dataset.pipeline.transforms[0]
    ann_file, folder = dataset.ann_file, str(dataset.data_prefix['video'])
    place = ann_file, folder, loader.num_frames
    for known in found.datasets:
        if place == (known.ann_file, known.folder, known.loader.num_frames):
            known.stages.append(stage)
            known.label = _label(known.stages, ann_file)
            return
    found.add(
        Dataset(
            *(_label([stage], ann_file), [stage], ann_file, folder, loader),
            complete_names(read_annotations(ann_file), folder, ann_file),
            dataset.allow_outside,
        )
    )


def _label(stages: Sequence[str], ann_file: str) -> str:
    return f'{", ".join(stages)} ({Path(ann_file).name})'


class _EndsReader:
    """Reads first, middle and last frame, where no config says what."""

    num_frames = 0

    def __init__(self) -> None:
        self._open = supervise(get_reader('auto'), TIME_LIMIT)

    def count_frames(self, sample: dict) -> int:
        with self._open(sample['filename']) as video:
            count = len(video)
            return len(video.get_frames([0, count // 2, count - 1]))


def collect_benchmark(folder: Path, videos: Path) -> Collection:
    """Read every annotation file (``*.json``) of a folder.

    Args:
        folder: Where ``prepare.py`` wrote to.
        videos: Folder of the videos.

    Raises:
        SetupError: There is no such file or one cannot be read.
    """
    files = sorted(folder.glob('*.json'))
    if not files:
        raise SetupError(
            f'There is no annotation file (*.json) in {folder}; prepare.py '
            'beside this script writes them.'
        )
    found, reader = Collection(), _EndsReader()
    for file in files:
        records = complete_names(read_annotations(file), videos, file)
        found.add(
            Dataset(file.stem, [], str(file), str(videos), reader, records),
            spans=False,
        )
    return found


def verify(
    videos: Collection,
    workers: int | None = None,
    time_limit: float = TIME_LIMIT,
    journal: CheckedFiles | None = None,
    thorough: bool = True,
) -> dict[str, list[Problem]]:
    """Examine each file once, with a progress bar.

    Args:
        videos: What is to be read.
        workers: Number of decoder processes. Defaults to one for each core.
        time_limit: Seconds for each look at a file.
        journal: Results that are known; each new one is added as soon as it
            is there. The caller closes it.
        thorough: Look for duplicate and suspicious files too.

    Returns:
        Problems of each file that has any, in the order of the annotations.
    """
    loaders = [dataset.loader for dataset in videos.datasets]
    may_be_equal = _share_size(videos.files) if thorough else set()
    results, jobs, hows = {}, [], {}
    for path in videos.files:
        if (outside := _find_outside(videos, path)) is not None:
            results[path] = _result([Problem('unreadable', outside)])
            continue
        known = None
        if journal:
            hows[path] = _describe(videos, path, path in may_be_equal)
            known = journal.get(path, hows[path])
        if known is None:
            jobs.append(path)
        else:
            results[path] = json.loads(known[0])
    work = thread_map(
        lambda path: examine_file(
            *(path, videos.files[path], loaders),
            *(path in may_be_equal, thorough, time_limit),
        ),
        jobs,
        workers,
    )
    bar = tqdm(
        work,
        total=len(videos.files),
        initial=len(results),
        desc='videos',
        mininterval=1,
    )
    for place, result in bar:
        path = jobs[place]
        results[path] = result
        if journal:
            journal.put(path, hows[path], json.dumps(result))
    digests = {p: r['digest'] for p, r in results.items() if r['digest']}
    duplicates = _find_duplicates(videos, digests) if thorough else {}
    problems = {
        path: [
            *(Problem(*each) for each in results[path]['findings']),
            *duplicates.get(path, ()),
        ]
        for path in videos.files
    }
    return {path: found for path, found in problems.items() if found}


def count_problems(
    videos: Collection, problems: Mapping[str, Sequence[Problem]]
) -> list[dict[str, int]]:
    """Count, per data set, the videos with each kind of problem."""
    counts = [dict.fromkeys(KINDS, 0) for _ in videos.datasets]
    for path, found in problems.items():
        for number in {use.dataset for use in videos.files[path]}:
            for kind in {problem.kind for problem in found}:
                counts[number][kind] += 1
    return counts


def _describe(videos: Collection, path: str, with_digest: bool) -> str:
    uses = sorted(
        f'{videos.datasets[use.dataset].loader!r} {use.sample}'
        for use in videos.files[path]
    )
    versions = f'{mmtvr.__version__} {decoder_versions()}'
    digest = 'blake2b' if with_digest else ''
    return f'{versions} {digest} {" ".join(uses)}'


def _find_outside(videos: Collection, path: str) -> str | None:
    for use in videos.files[path]:
        dataset = videos.datasets[use.dataset]
        escape = find_path_escape(dataset.folder, use.file)
        if escape and not dataset.allow_outside:
            return f'outside the folder: {escape}'
    return None


def examine_file(
    path: str,
    uses: Sequence[Use],
    loaders: Sequence[Any],
    with_digest: bool = False,
    inspect: bool = True,
    time_limit: float = TIME_LIMIT,
) -> dict:
    """Look at one file in the decoder process of this thread.

    Args:
        path: The video file.
        uses: What is to be read of it.
        loaders: The loader of each data set.
        with_digest: Hash its content.
        inspect: Look at all its packets for what is suspicious.
        time_limit: Seconds for each look.

    Returns:
        ``findings``, ``digest`` (or None) and ``facts`` (see
        :class:`Inspection`, or None), as JSON holds them.
    """
    if not os.path.isfile(path):
        return _result([Problem('missing', 'there is no such file')])
    if not os.path.getsize(path):
        return _result([Problem('unreadable', 'the file is empty')])
    digest = facts = None
    try:
        if with_digest:
            digest = hash_file(path)
        if inspect:
            facts = call_in_decoder_process(inspect_video, path, time_limit)
    except (OSError, UnreadableVideoError) as error:
        return _result([Problem('unreadable', _reason(path, error))])
    wanted = {
        (id(loaders[use.dataset]), *use.sample.items()): use for use in uses
    }
    found = {_try_use(u, loaders[u.dataset]): None for u in wanted.values()}
    problems = [problem for problem in found if problem is not None]
    if facts is not None:
        suspicions = find_suspicious(Inspection(**facts))
        problems += [Problem('suspicious', what) for what in suspicions]
    return _result(problems, digest, facts)


def _try_use(use: Use, loader: Any) -> Problem | None:
    sample = use.sample
    try:
        count = loader.count_frames(sample)
    except UnreadableVideoError as error:
        return Problem('unreadable', _reason(sample['filename'], error))
    if count >= loader.num_frames:
        return None
    span = ''
    if 'start' in sample or 'end' in sample:
        start, end = sample.get('start', 0), sample.get('end')
        until = 'its end' if end is None else f'{end:g} s'
        span = f' from {start:g} s to {until}'
    return Problem(
        'short', f'{count} frames{span}, {loader.num_frames} are asked for'
    )


def _reason(path: str, error: Exception) -> str:
    return str(error).removeprefix(f'{path}: ')


def _result(
    problems: Sequence[Problem],
    digest: str | None = None,
    facts: dict | None = None,
) -> dict:
    return dict(findings=problems, digest=digest, facts=facts)


def find_suspicious(facts: Inspection) -> list[str]:
    """Sentences on what is unusual about a video."""
    reported, held = facts.frames_reported, facts.frames_held
    seconds, fps = facts.seconds, facts.fps
    sizes = ', '.join(f'{width}x{height}' for height, width in facts.sizes)
    sides = [min(size) for size in facts.sizes]
    flat = bool(facts.sizes) and facts.contrast < FLAT
    dark, bright = facts.brightness
    miscounted = reported and reported != held
    unicolored = flat and bright >= BLACK and bright - dark < FLAT
    checks = [
        (facts.end, f'reading stopped before the end: {facts.end}'),
        (not held, 'it holds no frame'),
        (miscounted, f'its header reports {reported} frames, not {held}'),
        (seconds > MAX_SECONDS, f'it lasts {seconds / 3600:.1f} hours'),
        (0 < seconds < MIN_SECONDS, f'it lasts {seconds:.2f} s'),
        (0 < fps < MIN_FPS or fps > MAX_FPS, f'it has {fps:g} frames/s'),
        (len(facts.sizes) > 1, f'its size changes: {sizes}'),
        (sides and min(sides) < MIN_SIDE, f'it is small: {sizes}'),
        (flat and bright < BLACK, 'all inspected frames are black'),
        (unicolored, 'all inspected frames are of one colour'),
    ]
    return [what for applies, what in checks if applies]


def _share_size(paths: Iterable[str]) -> set[str]:
    """Files that may be equal: those whose size another one has."""
    by_size = defaultdict(list)
    for path in paths:
        try:
            by_size[os.path.getsize(path)].append(path)
        except OSError:
            continue
    return {
        path
        for size, group in by_size.items()
        if size and len(group) > 1
        for path in group
    }


def _find_duplicates(
    videos: Collection, digests: Mapping[str, str]
) -> dict[str, list[Problem]]:
    """Files with an equal one, and files both training and a test use."""
    groups = defaultdict(list)
    for path in videos.files:
        groups[digests.get(path, path)].append(path)
    found = defaultdict(list)
    for group in groups.values():
        leak = _find_leak(videos, group)
        for path in group:
            equal = [other for other in group if other != path]
            if equal:
                what = f'the same content as {equal[0]}'
                if len(equal) > 1:
                    what += f' and {len(equal) - 1} more'
            elif leak:
                what = 'the same file'
            else:
                continue
            found[path].append(Problem('duplicate', what + leak))
    return dict(found)


def _find_leak(videos: Collection, paths: Iterable[str]) -> str:
    stages = {
        stage
        for path in paths
        for use in videos.files[path]
        for stage in videos.datasets[use.dataset].stages
    }
    tests = sorted(stages - {'train'}, reverse=True)
    if 'train' not in stages or not tests:
        return ''
    return f'; LEAK: in train and in {" and ".join(tests)}'
