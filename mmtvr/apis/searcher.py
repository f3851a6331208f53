"""Search your own videos by text, with any retriever of a config."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.checkpoints import find_checkpoint, guard_loading
from mmtvr.config.reading import (
    expand_encoder,
    load_config,
    parse_plain_config,
)
from mmtvr.errors import SetupError
from mmtvr.search.encoder import RetrievalEncoder
from mmtvr.search.identity import check_model
from mmtvr.search.indexing import Indexer, prepare_index
from mmtvr.search.query import (
    IndexReport,
    SearchResult,
    VideoExplanation,
    search_similar,
    search_texts,
    to_features,
    without,
)
from mmtvr.search.stores import open_store, require_index
from mmtvr.search.stores.base import (
    DEFAULT_PRECISION,
    StoredVideos,
    VideoStore,
    require_at_least,
    without_secrets,
)
from mmtvr.search.video_files import FoundVideo, describe_file, find_videos


def find_features(
    store: VideoStore | None, encoder: RetrievalEncoder, path: str
) -> StoredVideos:
    """Take features from an index if the file is as it was, else encode it.

    Args:
        store: The index, if one is open.
        encoder: The model that filled it.
        path: The file.

    Returns:
        Features of one video.

    Raises:
        SetupError: The file cannot be read.
    """
    path = os.path.abspath(path)
    if store is not None:
        known = store.read_file(describe_file(FoundVideo(path)))
        if known.contents:
            return known
    (encoded,) = encoder.encode_videos([FoundVideo(path)])
    if encoded.error is not None:
        raise SetupError(f'{path} cannot be read: {encoded.error}')
    pooled, tokens, times = encoded.features
    return StoredVideos([encoded.content], pooled[None], [tokens], [times])


PathLike = str | os.PathLike[str]


class TextVideoSearcher:
    """Index video files, and search them by text or by video.

    Texts and videos are read as the test set of the config is: its frames,
    its tokenizer, its key words.

    Args:
        config: A config file or a loaded config.
        checkpoint: A checkpoint, or the work folder of a run: its best
            checkpoint, else its last. None for the pretrained encoders as
            they are, which CLIP with a head without parameters allows.
        device: Where to compute; None for a GPU if there is one.

    Raises:
        SetupError: Something is missing; says what gets it.

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
    ) -> None:
        guard_loading()
        if not isinstance(config, Config):
            config = load_config(os.fspath(config))
        expand_encoder(config)
        if checkpoint is not None:
            checkpoint = find_checkpoint(checkpoint)
        self.config = config
        self.encoder = RetrievalEncoder(config, checkpoint, device)
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
        workers: int = 0,
        progress: bool = True,
        retry: bool = False,
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
                An index that is there keeps both; to ask for others raises.
            workers: Processes that read videos; 0 for this one.
            progress: Whether to show a bar.
            retry: Whether to try again what could not be decoded before.

        Returns:
            What was done; unreadable videos are named in it.

        Raises:
            SetupError: A source is missing, a number is too small, or
                another model filled the index or it has other settings.
        """
        one = isinstance(videos, str | os.PathLike)
        found = find_videos([videos] if one else videos, videos_folder)
        store = open_store(into)
        facts = dict(
            width=self.encoder.width,
            precision=precision or DEFAULT_PRECISION,
            parts=self.encoder.default_parts if parts is None else parts,
        )
        indexer = Indexer(store, self.encoder, workers, progress, retry)
        prepare_index(
            store,
            {**self.encoder.about, **facts},
            asked=dict(precision=precision, parts=parts),
        )
        self._store = store
        return indexer.run(found)

    def open(self, index: PathLike) -> 'TextVideoSearcher':
        """Open an index.

        Args:
            index: The folder or the address of an index.

        Returns:
            This searcher.

        Raises:
            SetupError: There is no index, or another model filled it.
        """
        store = open_store(index)
        check_model(require_index(store), self.encoder.about, store.url)
        self._store = store
        return self

    @overload
    def search(
        self, text: str, top_k: int = ..., *, candidates: int = ...
    ) -> list[SearchResult]: ...

    @overload
    def search(
        self, text: Sequence[str], top_k: int = ..., *, candidates: int = ...
    ) -> list[list[SearchResult]]: ...

    @overload
    def search(
        self, *, video: PathLike, top_k: int = ..., candidates: int = ...
    ) -> list[SearchResult]: ...

    def search(
        self,
        text: str | Sequence[str] | None = None,
        top_k: int = 10,
        *,
        video: PathLike | None = None,
        candidates: int = 100,
    ) -> list[SearchResult] | list[list[SearchResult]]:
        """Search the open index by text, or by a video for similar ones.

        Args:
            text: A text, or several.
            top_k: How many results.
            video: A video file, of the index or not, in place of a text. It
                is not among its own results.
            candidates: How many neighbours of pooled vectors are compared
                exactly: by the head, or as whole videos.

        Returns:
            Results, the best first; for several texts a list of them for
            each.

        Raises:
            SetupError: The query is empty or unreadable, or a number below 1.
        """
        if (text is None) == (video is None):
            raise SetupError('give a text or a video to search for')
        require_at_least(1, top_k=top_k, candidates=candidates)
        if video is not None:
            features = self._features_of(video)
            found = search_similar(self.store, features, top_k + 1, candidates)
            return without(found, os.path.abspath(video))[:top_k]
        texts = [text] if isinstance(text, str) else list(text)
        found = search_texts(
            self.store, self.encoder, texts, top_k, candidates
        )
        return found[0] if isinstance(text, str) else found

    def score(self, text: str, video: PathLike) -> float:
        """Compare a text with a video by the head of the model.

        Args:
            text: The text.
            video: A video file, of the index or not.

        Returns:
            The similarity.

        Raises:
            SetupError: The text is empty or the video cannot be read.
        """
        query = self.encoder.encode_texts([text]).features
        features = to_features(self._features_of(video))
        return float(self.encoder.score(query, features)[0, 0])

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
        video = self._features_of(path)
        return VideoExplanation(
            text=text,
            path=os.fspath(path),
            times=video.times[0],
            explanation=self.encoder.explain(text, to_features(video)),
        )

    def _features_of(self, video: PathLike) -> StoredVideos:
        return find_features(self._store, self.encoder, os.fspath(video))


def open_searcher(
    index: PathLike,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> TextVideoSearcher:
    """Open an index with the model that it names itself.

    Args:
        index: The folder or the address of an index.
        checkpoint: Where the checkpoint is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        A searcher with the index open.

    Raises:
        SetupError: There is no index, its model is not to be found, or its
            config might run code.

    Examples:
        >>> open_searcher(where).search('a blue star', top_k=1)[0].rank
        1
    """
    about = require_index(open_store(index))
    shown = without_secrets(os.fspath(index))
    if about.get('imported'):
        raise SetupError(
            f'{shown} holds imported features ({about["name"]}), '
            'whose model mmtvr does not have: search it with vectors of that '
            'model (--vectors) or by one of its videos (--video)'
        )
    config = parse_plain_config(about['config'], f'the index {shown}')
    init_default_scope(config.get('default_scope') or 'mmtvr')
    if about['checkpoint'] is None:
        checkpoint = None
    elif checkpoint is None:
        checkpoint = about['checkpoint_path']
        if not Path(checkpoint).is_file():
            raise SetupError(
                f'the checkpoint of the index {shown} is no longer '
                f'{checkpoint}: say where it is with --checkpoint PATH'
            )
    searcher = TextVideoSearcher(config, checkpoint, device)
    searcher.encoder.about['name'] = about['name']
    return searcher.open(index)
