"""Search your own videos by text, with any retriever of a config."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.checkpoints import PRETRAINED, find_checkpoint
from mmtvr.config import (
    expand_encoder,
    is_work_folder,
    load_config,
    parse_plain_config,
)
from mmtvr.errors import SetupError, first_line
from mmtvr.pretrained import look_in
from mmtvr.search.calibration import (
    Calibration,
    add_probabilities,
    find_calibration,
)
from mmtvr.search.encoder import RetrievalEncoder, check_model, find_weights
from mmtvr.search.model_folder import read_model_folder
from mmtvr.search.moments import MAX_MOMENTS, Moment, find_moments
from mmtvr.search.query import (
    TEXT_WEIGHT,
    IndexReport,
    SearchResult,
    Selection,
    VideoExplanation,
    choose_row,
    lay_out_video,
    parse_where,
    search_by_name,
    search_by_vectors,
    search_combined,
    search_similar,
    search_texts,
    to_features,
    without,
)
from mmtvr.search.stores import open_store
from mmtvr.search.stores.base import (
    PRECISIONS,
    DamagedIndexError,
    StoredVideos,
    VideoStore,
    require_at_least,
)

CANDIDATES = 100
# Of the first stage, as a calibration reports them.
RECALLS = (0.9, 0.95, 0.99)
NEIGHBOURS_OF_HUBS = 64
REFERENCE_TEXTS = 1000
# What building a model from a config of another kind raises.
UNUSABLE = (
    *(AssertionError, AttributeError, LookupError),
    *(TypeError, ValueError),
)

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading

__all__ = [
    'TextVideoSearcher',
    'calibrate_index',
    'describe_index',
    'export_index',
    'import_index',
    'measure_hubness',
    'open_searcher',
    'remove_from_index',
    'search_by_name',
    'search_by_vectors',
    'switch_index',
]

PathLike = str | os.PathLike[str]


def open_encoder(
    config: PathLike | Config,
    checkpoint: PathLike | None = None,
    device: str | None = None,
    text_only: bool = False,
) -> RetrievalEncoder:
    """Open a model; see :class:`TextVideoSearcher`."""
    name, checkpoint = None, _none_if_pretrained(checkpoint)
    if not isinstance(config, Config):
        if is_work_folder(os.fspath(config)):
            checkpoint = checkpoint or config
            config = load_config(os.fspath(config))
        elif os.path.isdir(config):
            found = read_model_folder(config)
            config, name = found.config, found.name
            checkpoint = checkpoint or found.weights
            init_default_scope('mmtvr')
        else:
            config = load_config(os.fspath(config))
    expand_encoder(config)
    if checkpoint is not None:
        checkpoint = find_checkpoint(checkpoint)
    encoder = RetrievalEncoder(config, checkpoint, device, text_only)
    encoder.info['name'] = name or encoder.info['name']
    return encoder


def _none_if_pretrained(checkpoint: PathLike | None) -> PathLike | None:
    return None if checkpoint == PRETRAINED else checkpoint


class TextVideoSearcher:
    """Index video files, and search them by text or by video.

    Texts and videos are read as the test set of the config is: its frames,
    its tokenizer, its key words.

    Args:
        config: A config file, a loaded config, or, with its own checkpoint,
            the work folder of a run or the folder of a
            :class:`mmtvr.apis.Retriever`.
        checkpoint: A checkpoint, or the work folder of a run: its best
            checkpoint, else its last. None or ``'none'`` for the pretrained
            encoders as they are, which CLIP with a head without parameters
            allows.
        device: Where to compute; None for a GPU if there is one.
        text_only: Load what encodes videos when a video is encoded or
            explained, not now.

    Raises:
        SetupError: Something is missing; says how to get it.

    Examples:
        >>> searcher = TextVideoSearcher(config)
        >>> report = searcher.index(folder, into=where, progress=False)
        >>> report.videos, report.encoded, report.unreadable
        (6, 6, {})
        >>> best = searcher.search('a red circle rising', top_k=2)[0]
        >>> best.rank, best.path.endswith('.mp4')
        (1, True)
        >>> [word.word for word in best.words]
        ['red', 'circle', 'rising']
        >>> best == TextVideoSearcher(config).open(where).search(
        ...     'a red circle rising', top_k=2)[0]
        True
    """

    def __init__(
        self,
        config: PathLike | Config,
        checkpoint: PathLike | None = None,
        device: str | None = None,
        text_only: bool = False,
    ) -> None:
        self.encoder = open_encoder(config, checkpoint, device, text_only)
        self.config = self.encoder.config
        self._store: VideoStore | None = None

    @property
    def store(self) -> VideoStore:
        """The open index.

        Raises:
            SetupError: None is open.
        """
        if self._store is None:
            raise SetupError(
                'no index is open: call index(videos, into=...) or '
                'open(index) first'
            )
        return self._store

    def index(
        self,
        videos: PathLike | Sequence[PathLike],
        into: PathLike,
        *,
        videos_folder: PathLike | None = None,
        precision: str | None = None,
        parts: int | None = None,
        window: float | None = None,
        overlap: float | None = None,
        workers: int = 0,
        progress: bool = True,
        retry: bool = False,
        metadata: PathLike | None = None,
        text_columns: Sequence[str] | None = None,
    ) -> IndexReport:
        """Make an index of videos, or bring one up to date, and open it.

        Args:
            videos: A folder, files, or an annotation file; one or several.
            into: The index: a folder that is made if need be, or the
                address of an engine.
            videos_folder: Where the videos of an annotation file are.
            precision: How a new index keeps token features: ``'float16'``,
                the default, or ``'int8'``.
            parts: Vectors that the first stage of a new index has of each
                video, of as many parts of it in time. Defaults to 4, and to
                1, the whole video, for a head that compares pooled vectors.
            window: Seconds of a window. A new index has features of each
                longer video as a whole, and of windows of it, as many frames
                of each. Defaults to 60; 0 for the whole only.
            overlap: Seconds that a window has in common with the next one.
                Defaults to a third of the window. An index that is there
                keeps all four; to ask for others raises.
            workers: Processes that read videos; 0 for this one.
            progress: Whether to show a bar.
            retry: Whether to try again what could not be decoded before.
            metadata: A table with columns of the videos, to filter by and to
                search in; see :func:`mmtvr.search.metadata.read_metadata`.
                Those that an earlier table gave stay.
            text_columns: Columns of it whose text is searched; those with
                usual names, such as ``title``, if None.

        Returns:
            What was done; unreadable videos are named in it.

        Raises:
            SetupError: A source is missing, a number is too small, or
                another model filled the index or it has other settings.
        """
        from mmtvr.search.indexing import Indexer, choose_windows
        from mmtvr.search.metadata import read_metadata
        from mmtvr.search.video_files import find_videos

        table = None
        if metadata is not None:
            table = read_metadata(metadata, text_columns)
        if isinstance(videos, str | os.PathLike):
            videos = [videos]
        found = find_videos(videos, videos_folder)
        store = open_store(into)
        settings = dict(
            width=self.encoder.width,
            precision=precision or PRECISIONS[0],
            parts=self.encoder.default_parts if parts is None else parts,
            **choose_windows(window, overlap),
        )
        require_at_least(1, parts=settings['parts'])
        asked = dict(
            precision=precision, parts=parts, window=window, overlap=overlap
        )
        indexer = Indexer(
            store,
            self.encoder,
            {**self.encoder.info, **settings},
            asked,
            workers,
            progress,
            retry,
            table,
        )
        report = indexer.run(found)
        self._store = store
        return report

    def watch(
        self,
        videos: PathLike | Sequence[PathLike],
        into: PathLike,
        *,
        seconds: float = 5.0,
        **options: Any,
    ) -> Iterator[IndexReport | SetupError]:
        """Index videos, and again whenever files come, change or go.

        Looks at the files every few seconds, so that it sees also what other
        machines put into a shared folder. A file counts as changed once it
        is the same in two looks: one that is being copied is waited for.

        Args:
            videos: See :meth:`index`.
            into: Likewise.
            seconds: From one look to the next.
            **options: Others of :meth:`index`.

        Yields:
            The report of each pass, the first one at once, or why it could
            not be done; the next change is waited for then.
        """
        from mmtvr.search.metadata import Subtitles
        from mmtvr.search.video_files import find_videos, take_snapshot

        table = options.get('metadata')
        tables = [] if table is None else [os.fspath(table)]
        given = [videos] if isinstance(videos, str | os.PathLike) else videos
        folder = options.get('videos_folder')
        before: dict[str, tuple] = {}
        indexed: dict[str, tuple] | None = None
        said = ''
        while True:
            try:
                found = find_videos(given, folder)
                paths = {video.path for video in found.videos}
                subtitles = Subtitles()
                for path in list(paths):
                    paths.update(subtitles.find(path))
                now = take_snapshot({*paths, *found.annotations, *tables})
                new = indexed is None or any(
                    indexed.get(path) != each and before.get(path) == each
                    for path, each in now.items()
                )
                gone = indexed is not None and indexed.keys() - now.keys()
                before = now
                if new or gone:
                    report = self.index(videos, into, **options)
                    indexed, said = now, ''
                    yield report
            except SetupError as error:
                if indexed is None:
                    raise
                # Once, not at each look.
                if str(error) != said:
                    said = str(error)
                    yield error
            time.sleep(seconds)

    def open(self, index: PathLike) -> 'TextVideoSearcher':
        """Open the index at a folder or an address, and return the searcher.

        Raises:
            SetupError: There is no index, or another model filled it.
        """
        store = open_store(index)
        check_model(store.require_info(), self.encoder.info, store.url)
        self._store = store
        return self

    # A str is a sequence of str too; type checkers take the first that fits.
    @overload
    def search(  # type: ignore[overload-overlap]
        self,
        text: str,
        top_k: int = ...,
        *,
        candidates: int = ...,
        where: str | None = ...,
        offset: int = ...,
        match: str = ...,
        text_weight: float = ...,
        video: PathLike | None = ...,
        span: tuple[float | None, float | None] | None = ...,
        unlike: str | Sequence[str] = ...,
        distinct: float | None = ...,
        min_score: float | None = ...,
        nnn: float = ...,
        moments: bool = ...,
    ) -> list[SearchResult]: ...

    @overload
    def search(
        self,
        text: Sequence[str],
        top_k: int = ...,
        *,
        candidates: int = ...,
        where: str | None = ...,
        offset: int = ...,
        match: str = ...,
        text_weight: float = ...,
        distinct: float | None = ...,
        min_score: float | None = ...,
        nnn: float = ...,
        moments: bool = ...,
    ) -> list[list[SearchResult]]: ...

    @overload
    def search(
        self,
        *,
        video: PathLike,
        top_k: int = ...,
        candidates: int = ...,
        where: str | None = ...,
        offset: int = ...,
        span: tuple[float | None, float | None] | None = ...,
        unlike: str | Sequence[str] = ...,
        distinct: float | None = ...,
        min_score: float | None = ...,
    ) -> list[SearchResult]: ...

    def search(
        self,
        text: str | Sequence[str] | None = None,
        top_k: int = 10,
        *,
        video: PathLike | None = None,
        candidates: int = 100,
        where: str | None = None,
        offset: int = 0,
        match: str = 'auto',
        text_weight: float = TEXT_WEIGHT,
        span: tuple[float | None, float | None] | None = None,
        unlike: str | Sequence[str] = (),
        distinct: float | None = None,
        min_score: float | None = None,
        nnn: float = 0.0,
        moments: bool = False,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """Search the open index by text, or by a video for similar ones.

        A text together with a video, or with what is not to be seen, asks for
        what fits all of it, among the candidates of each.

        Args:
            text: A text, or several.
            top_k: How many results.
            video: A video file or an image, of the index or not, as an
                example. It is not among its own results.
            candidates: How many neighbours are compared exactly: by the
                head, or as whole videos.
            where: A condition on the columns of the videos, in SQL, such as
                ``duration < 60 and folder like 'holiday%'``.
            offset: How many of the best are left out: those of the pages
                before.
            match: Where a text is looked for: ``'video'``, what is seen;
                ``'text'``, subtitles and columns; ``'auto'``, both.
            text_weight: Of the second, from 0 to 1, where both are searched.
            span: First and last second of ``video``; None for an end of it.
            unlike: What is not to be seen: a text, or several.
            distinct: Leave out what is, by the cosine of pooled vectors, at
                least so like a better result, such as 0.98.
            min_score: Leave out results with a lower score.
            nnn: Of texts alone: rank videos lower that come first whatever
                is asked, by this share of their hubness, see
                :func:`measure_hubness`; 0 to rank by score alone.
            moments: Of a text: whether to find from when to when each result
                shows what it says.

        Returns:
            Results, the best first; for several texts a list of them for
            each. Those of texts alone have a probability where there is a
            :attr:`calibration`.

        Raises:
            SetupError: The query is empty or unreadable, a number below 1, or
                the index has no such column, or moments are asked of a video
                or of an index without frames.
        """
        if text is None and video is None:
            raise SetupError('give a text or a video to search for')
        if moments and text is None:
            raise SetupError('moments are found for a text, not for a video')
        require_at_least(1, top_k=top_k, candidates=candidates)
        require_at_least(0, offset=offset)
        condition = parse_where(self.store, where)
        unlike = [unlike] if isinstance(unlike, str) else list(unlike)
        if unlike or (text is not None and video is not None):
            selection = Selection(
                top_k, offset, candidates, condition, distinct=distinct
            )
            found = self._combine(text, video, span, unlike, selection)
            return add_probabilities(found, None, min_score)
        if video is not None:
            end = offset + top_k
            found = search_similar(
                self.store,
                self._features_of(video, span),
                end + 1,
                candidates,
                where=condition,
                distinct=distinct,
            )
            others = without(found, os.path.abspath(video))[offset:end]
            return add_probabilities(others, None, min_score)
        assert text is not None
        texts = [text] if isinstance(text, str) else list(text)
        of_each = search_texts(
            self.store,
            self.encoder,
            texts,
            top_k,
            candidates,
            where=condition,
            offset=offset,
            match=match,
            text_weight=text_weight,
            distinct=distinct,
            moments=moments,
            nnn=nnn,
        )
        calibration = self.calibration
        of_each = [
            add_probabilities(each, calibration, min_score) for each in of_each
        ]
        return of_each[0] if isinstance(text, str) else of_each

    @property
    def calibration(self) -> Calibration | None:
        """What scores of texts mean in the open index, if that is known.

        See :func:`calibrate_index`. Of the index itself, else of its model.
        """
        info = self.store.require_info()
        return find_calibration(info, self.encoder.checkpoint)

    def candidates_for(self, recall: float) -> int:
        """How many candidates a search by text needs for a recall.

        As :func:`calibrate_index` measured it in the open index: the first of
        the exact ranking is among so many for this share of its captions.

        Args:
            recall: Above 0, at most 1.

        Raises:
            SetupError: It was not measured, or when the index had less than
                half as many videos.
        """
        from mmtvr.search.recall import FACT, count_candidates

        measured = self.store.require_info().get(FACT)
        return count_candidates(measured, recall, self.store.count_videos())

    def _combine(
        self,
        text: str | Sequence[str] | None,
        video: PathLike | None,
        span: tuple[float | None, float | None] | None,
        unlike: Sequence[str],
        selection: Selection,
    ) -> list[SearchResult]:
        if text is not None and not isinstance(text, str):
            raise SetupError(
                'give one text to combine with an example or with what is '
                f'not to be seen, got {len(text)}'
            )
        examples = []
        if video is not None:
            examples = [self._features_of(video, span)]
        # The example itself may be found too, and is left out.
        found = search_combined(
            self.store,
            self.encoder,
            [] if text is None else [text],
            examples,
            unlike,
            replace(selection, top_k=selection.end + 1, offset=0),
        )
        if video is not None:
            found = without(found, os.path.abspath(video))
        return found[selection.offset : selection.end]

    def read_text(self, text: str) -> 'TextReading':
        """Find what of a query the model cannot read.

        Returns:
            Words that its tokenizer does not know, and the end that is cut
            off.
        """
        return self.encoder.read_text(text)

    def score(self, text: str, video: PathLike) -> float:
        """Compare a text with a video, of the index or not, by the head.

        Raises:
            SetupError: The text is empty or the video cannot be read.
        """
        query = self.encoder.encode_texts([text]).features
        features = to_features(self._features_of(video))
        # Of a long video of the index, the best window.
        return float(self.encoder.score(query, features).max())

    def find_moments(
        self, text: str, video: PathLike, count: int = MAX_MOMENTS
    ) -> list[Moment]:
        """Find from when to when a video shows what a text says.

        Args:
            text: The text.
            video: A video file. One that is not of the index is encoded as a
                whole, without windows.
            count: How many moments, at most.

        Returns:
            Moments, the best first. They may overlap, by half at most.

        Raises:
            SetupError: The text is empty or the video cannot be read.
        """
        require_at_least(1, count=count)
        query = self.encoder.encode_texts([text]).features.to('cpu')
        timeline = lay_out_video(
            self.store, self.encoder, query, self._features_of(video)
        )
        return find_moments(timeline, count)

    def explain(self, text: str, path: PathLike) -> VideoExplanation:
        """Say which words and which frames of a video are alike.

        Args:
            text: The text.
            path: A video file, of the index or not.

        Returns:
            Word pieces, their weights, times of the frames, and cosines.

        Raises:
            SetupError: The text is empty or the video cannot be read.
        """
        video = choose_row(self.encoder, text, self._features_of(path))
        return VideoExplanation(
            text=text,
            path=os.fspath(path),
            times=video.times[0][:: self.encoder.tokens_per_frame],
            explanation=self.encoder.explain(text, to_features(video)),
        )

    def _features_of(
        self,
        video: PathLike,
        span: tuple[float | None, float | None] | None = None,
    ) -> StoredVideos:
        """Features from the index if the file is as it was, else encode it."""
        from mmtvr.search.video_files import (
            FoundVideo,
            describe_file,
            unreadable_query,
        )
        from mmtvr.video.cutting import image_to_video, is_image

        start, end = span or (None, None)
        path = os.path.abspath(video)
        found = FoundVideo(path, '', start, end)
        if self._store is not None:
            known = self._store.read_file(describe_file(found))
            if known.contents:
                return known
        if is_image(path):
            with TemporaryDirectory() as folder:
                still = FoundVideo(os.path.join(folder, 'image.mkv'))
                image_to_video(path, still.path)
                (encoded,) = self.encoder.encode_videos([still])
        else:
            (encoded,) = self.encoder.encode_videos([found])
        if encoded.features is None:
            raise unreadable_query(path, encoded.error or '')
        pooled, tokens, times = encoded.features
        return StoredVideos([encoded.content], pooled[None], [tokens], [times])


def open_searcher(
    index: PathLike,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> TextVideoSearcher:
    """Open an index with the model that it names itself.

    What encodes videos is loaded when a video is encoded or explained.

    Args:
        index: The folder or the address of an index.
        checkpoint: Where the checkpoint is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        A searcher with the index open.

    Raises:
        SetupError: There is no index, its model is not to be found, or its
            config might run code.

    Example:
        >>> open_searcher(where).search('a blue star', top_k=1)[0].rank
        1
    """
    store = open_store(index)
    info = store.require_info()
    if info.get('imported'):
        raise SetupError(
            f'{store.url} holds imported features ({info["name"]}), '
            'whose model mmtvr does not have: search it with vectors of that '
            'model (--vectors) or by one of its videos (--video)'
        )
    _check_facts(info, store.url)
    config = parse_plain_config(info['config'], f'the index {store.url}')
    scope = config.get('default_scope') or 'mmtvr'
    init_default_scope(scope if isinstance(scope, str) else 'mmtvr')
    if '://' not in store.url:
        # Folders of weights and tokenizers that the config names.
        look_in(info.get('folder', '.'), *Path(store.url).absolute().parents)
    if info['checkpoint'] is None:
        given = _none_if_pretrained(checkpoint)
        if given is not None:
            raise SetupError(
                f'{store.url} was filled by the pretrained encoders, not by '
                f'{os.fspath(given)}: leave the checkpoint out'
            )
        checkpoint = None
    elif checkpoint == PRETRAINED:
        raise SetupError(
            f'{store.url} was filled by the weights of '
            f'{info["checkpoint_path"]}, not by the pretrained encoders: '
            'leave the checkpoint out, or say where it is now'
        )
    elif checkpoint is None:
        checkpoint = find_weights(info, store.url)
    try:
        searcher = TextVideoSearcher(
            config, checkpoint, device, text_only=True
        )
    except UNUSABLE as error:
        raise _unusable(store.url, error) from error
    searcher.encoder.info['name'] = info['name']
    check_model(info, searcher.encoder.info, store.url)
    searcher._store = store
    return searcher


def _check_facts(info: dict[str, Any], url: str) -> None:
    """Check the facts that a model is found by.

    Raises:
        DamagedIndexError: One is missing, or of another type.
    """
    kinds = dict(
        config=str, name=str, model=str, checkpoint=str | None, folder=str
    )
    if info.get('checkpoint') is not None:
        kinds['checkpoint_path'] = str
    # Older indexes do not have it.
    facts = {'folder': '.', **info}
    for fact, kind in kinds.items():
        if fact not in facts or not isinstance(facts[fact], kind):
            raise DamagedIndexError(url, f'its facts have no {fact}')


def _unusable(url: str, error: Exception) -> SetupError:
    return SetupError(
        f'the config in the index {url} gives no model '
        f'({first_line(error)[:200]}): is a package of yours missing that it '
        'was made with? Otherwise index the videos again'
    )


def export_index(
    index: PathLike,
    path: PathLike,
    captions: PathLike | None = None,
    *,
    videos_folder: PathLike | None = None,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> dict[str, int]:
    """Write an index as a file, for other tools and other engines.

    Features are arrays of their own; what else is in the index goes with
    them, so that :func:`import_index` gives the index back.

    With captions, :func:`mmtvr.apis.evaluate` reads the file: it compares
    pooled vectors by cosine, each caption with all videos of the index. That
    is all there is to a head that compares pooled vectors, and the first
    stage of others, which ``tools/test.py`` evaluates.

    Args:
        index: The folder or the address of an index.
        path: Ends in ``.npz``; see
            :func:`mmtvr.search.features.read_features`.
        captions: An annotation file with captions of videos of the index.
            The model of the index encodes them, and the file gets ``text``
            (B, D) float32, ``texts`` (B,) strings and ``text_video_ids``
            (B,) int64.
        videos_folder: Where the videos of the annotation file are.
        checkpoint: Where the checkpoint of the index is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        How many videos and captions were written, and how many windows of
        long videos, if there are some.

    Raises:
        SetupError: The index is missing or empty, lacks one of the videos, or
            changes while it is read, or its model is not to be found.

    Example:
        >>> export_index(where, f'{where}.npz')
        {'exported': 6}
    """
    from mmtvr.files import write_arrays
    from mmtvr.search import features
    from mmtvr.search.video_files import read_captioned

    path, store = Path(path), open_store(index)
    info = store.require_info()
    features.check_export_path(path)
    entries = features.list_readable(store)
    windows = sum(entry.windows for entry in entries)
    report = dict(exported=len(entries))
    if windows:
        report['windows'] = windows
    if captions is None:
        content = features.read_features(store, entries)
        content |= features.carry_index(store, entries, content)
        write_arrays(path, content)
        return report
    if info.get('imported'):
        raise SetupError(
            f'{store.url} holds imported features, whose model mmtvr does '
            'not have: it cannot encode captions. Export without --captions, '
            'and add their vectors of that model as text'
        )
    placed = features.place_captions(
        read_captioned(captions, videos_folder),
        entries,
        [each for each in store.list_files() if each.error is not None],
    )
    # Before captions are encoded, which may take long: others may index.
    content = features.read_features(store, entries)
    content |= features.carry_index(store, entries, content)
    encoder = open_searcher(index, checkpoint, device).encoder
    text = features.encode_captions(encoder, placed['texts'].tolist())
    write_arrays(path, dict(content, **placed, text=text))
    return dict(report, captions=len(text))


def calibrate_index(
    index: PathLike,
    captions: PathLike,
    *,
    videos_folder: PathLike | None = None,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Find out what scores mean, from captions that trained nothing.

    Each caption is searched for, once as it is, and once as if the index did
    not hold its video; a logistic curve is fitted to whether the best hits
    are right. The curve is kept in the index and beside the checkpoint, for
    other indexes of the same model. Without a checkpoint it is in the index
    alone.

    How many candidates it takes to have the best video among them is
    measured too, see :meth:`TextVideoSearcher.candidates_for`.

    Args:
        index: The folder or the address of an index.
        captions: An annotation file with captions of videos of the index,
            none of which the model was trained or chosen with.
        videos_folder: Where the videos of the annotation file are.
        checkpoint: Where the checkpoint of the index is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        Fields of :class:`mmtvr.search.calibration.Calibration`, its
        ``cut_off``, ``reliability``: bins of probability, share that is
        right, and count, of texts that were left out of a fit; and
        ``candidates``: how many some recalls take.

    Raises:
        SetupError: There is no index or no model of it, a video is not in the
            index, or there are too few captions.
    """
    from mmtvr.search import recall
    from mmtvr.search.calibration import FACT, calibrate, write_calibration
    from mmtvr.search.features import list_readable, place_captions
    from mmtvr.search.video_files import read_captioned

    searcher = open_searcher(index, checkpoint, device)
    store, encoder = searcher.store, searcher.encoder
    entries = list_readable(store)
    placed = place_captions(
        read_captioned(captions, videos_folder),
        entries,
        [each for each in store.list_files() if each.error is not None],
    )
    videos: dict[str, set[tuple]] = {}
    for text, place in zip(
        placed['texts'].tolist(),
        placed['text_video_ids'].tolist(),
        strict=True,
    ):
        entry = entries[place]
        mine = videos.setdefault(text, set())
        mine.add((entry.path, entry.start, entry.end))
    most = max(map(len, videos.values())) + 1
    found, table = calibrate(
        search_texts(
            store, encoder, list(videos), most, CANDIDATES, match='video'
        ),
        [frozenset(each) for each in videos.values()],
        store.count_videos(),
        encoder.info['checkpoint'],
    )
    ranks = recall.measure_ranks(store, encoder, list(videos))
    facts = {FACT: found.to_dict(), recall.FACT: ranks}
    with store.lock():
        store.write_info({**store.require_info(), **facts})
    if encoder.checkpoint is not None:
        write_calibration(found, encoder.checkpoint)
    return dict(
        found.to_dict(),
        cut_off=found.cut_off,
        reliability=table,
        candidates=[
            (share, recall.count_candidates(ranks, share, ranks['videos']))
            for share in RECALLS
        ],
    )


def measure_hubness(
    index: PathLike,
    captions: PathLike,
    *,
    neighbours: int = NEIGHBOURS_OF_HUBS,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> int:
    """Measure which videos of an index come first whatever is asked.

    ``search(..., nnn=ALPHA)`` then ranks these lower (nearest neighbor
    normalization, arXiv:2410.24114).

    Args:
        index: The folder or the address of an index.
        captions: An annotation file whose captions are the reference, at
            most 1,000 of them, drawn at random: those of the training, not
            of the videos of the index.
        neighbours: Of how many of the closest reference texts the scores are
            averaged.
        checkpoint: Where the checkpoint of the index is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        The number of files.

    Raises:
        SetupError: There is no index or no model of it, or no captions.
    """
    import numpy as np

    from mmtvr.datasets.annotations import read_annotations
    from mmtvr.search.hubness import measure_hubness

    searcher = open_searcher(index, checkpoint, device)
    records = read_annotations(os.fspath(captions))
    texts = sorted({text for each in records for text in each.captions})
    drawn = np.random.default_rng(0).permutation(len(texts))
    some = [texts[each] for each in drawn[:REFERENCE_TEXTS].tolist()]
    with searcher.store.lock():
        return measure_hubness(
            searcher.store, searcher.encoder, some, neighbours
        )


def import_index(
    index: PathLike,
    path: PathLike,
    *,
    precision: str | None = None,
    parts: int | None = None,
    metadata: PathLike | None = None,
    text_columns: Sequence[str] | None = None,
) -> int:
    """Fill a new index with another one, or with features of any encoder.

    A file that :func:`export_index` wrote gives the index that it is of: its
    model, files, windows, columns and texts, and what its scores mean. Where
    a process was killed in the middle, the same call goes on.

    Args:
        index: The folder or the address of a new index.
        path: A ``.npz`` as :func:`export_index` writes it, of which
            ``video`` and ``videos`` are needed.
        precision: See :meth:`TextVideoSearcher.index`; None for that of the
            exported index.
        parts: Likewise, of a file with tokens; of features of others 1 if
            None.
        metadata: See :meth:`TextVideoSearcher.index`.
        text_columns: Likewise.

    Returns:
        The number of videos.

    Raises:
        SetupError: The file is missing or of another format, or there is an
            index of something else already. Nothing was written then.

    Example:
        >>> import_index(f'{where}_imported', f'{where}.npz')
        6
    """
    from mmtvr.search.features import import_features
    from mmtvr.search.metadata import MetadataWriter, read_metadata

    table = None
    if metadata is not None:
        table = read_metadata(metadata, text_columns)
    store = open_store(index)
    count = import_features(store, Path(path), precision, parts)
    if table is None and not store.require_info().get('imported'):
        return count
    with store.lock():
        writer = MetadataWriter(store, table)
        writer.begin()
        writer.finish(list(store.list_files()))
        store.compact()
    return count


def describe_index(index: PathLike) -> dict[str, Any]:
    """Say what is in an index, what failed and why, and what is going on.

    Args:
        index: The folder or the address of an index.

    Returns:
        ``videos``, ``contents`` (copies counted once), ``model``,
        ``sources`` (by name, how many files), ``failed`` (by path, why),
        ``columns`` (types by name), ``with_text`` (how many videos have
        text), and ``indexing``: how far a process is, or was when it died;
        None otherwise.

    Raises:
        SetupError: There is no index.

    Example:
        >>> status = describe_index(where)
        >>> status['videos'], status['failed'], status['indexing']
        (6, {}, None)
    """
    from dataclasses import asdict

    from mmtvr.search.progress import read_progress

    store = open_store(index)
    info = store.require_info()
    entries = list(store.list_files())
    sources: dict[str, int] = {}
    for entry in entries:
        name = entry.source or '(files named by themselves)'
        sources[name] = sources.get(name, 0) + 1
    progress = read_progress(store.url)
    indexing = None
    if progress is not None:
        indexing = dict(asdict(progress), is_running=progress.is_running)
    texts = sum(bool(row.searched_text) for row in store.list_metadata())
    return dict(
        index=store.url,
        videos=sum(entry.error is None for entry in entries),
        contents=store.count_videos(),
        model=info.get('name'),
        sources=sources,
        failed={e.path: e.error for e in entries if e.error is not None},
        columns=store.list_columns(),
        with_text=texts,
        indexing=indexing,
    )


def remove_from_index(
    index: PathLike, paths: PathLike | Sequence[PathLike]
) -> int:
    """Take files out of an index; the files themselves stay.

    Args:
        index: The folder or the address of an index.
        paths: Files, folders or annotation files, present or gone.

    Returns:
        How many files were removed.

    Raises:
        SetupError: There is no index, or nothing of that name in it.

    Example:
        >>> remove_from_index(where, folder)
        6
    """
    from mmtvr.search.indexing import remove_files
    from mmtvr.search.video_files import find_named

    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    names = [os.fspath(path) for path in paths]
    store = open_store(index)
    store.require_info()
    with store.lock():
        found = find_named(list(store.list_files()), names)
        if not found:
            raise SetupError(
                f'none of {", ".join(map(repr, names))} is in {store.url}'
            )
        remove_files(store, found)
    return len(found)


def switch_index(address: PathLike, name: str) -> None:
    """Make an address the name of another index, in Milvus or PostgreSQL.

    An index is rebuilt with a new model beside the old one and the address
    that people search is switched to it. A searcher or page that is open
    answers from the old index, with the old model, until it is started
    again; one that is started afterwards opens the new index with its model.

    Args:
        address: Of no index, or switched to one before.
        name: NAME of an index of the same server and database.

    Raises:
        SetupError: There is no such index, the address is an index itself,
            or it is a folder or an object store.

    Example:
        >>> switch_index('http://HOST/clips', 'clips_2')  # doctest: +SKIP
    """
    open_store(address).switch_to(name)
