"""A retriever as a model of mteb, so that its video tasks run on it."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmtvr.apis.retriever import Retriever
from mmtvr.errors import SetupError, import_extra
from mmtvr.structures import TokenFeatures, concatenate

__all__ = ['MTEBRetriever']

VIDEO, TEXT = 'video', 'text'


class MTEBRetriever:
    """``SearchProtocol`` of mteb >= 2.26 by the head of a retriever.

    Either side of a task may be the videos. All pairs are compared exactly,
    as ``tools/test.py`` does, not by one vector per side. Videos are read by
    the reader and the pipeline of the retriever: torchcodec is not needed.

    Args:
        retriever: The retriever.
        name: What mteb calls it, ``owner/name``.
        revision: Its revision.

    Raises:
        SetupError: The extra ``mteb`` is not installed.

    Example:
        Needs Python 3.11 and the extra ``mteb``::

            import mteb

            model = MTEBRetriever(Retriever.from_pretrained(folder))
            task = mteb.get_task('MSRVTTT2V')
            print(mteb.evaluate(model, task, cache=None)[0].scores)
    """

    def __init__(
        self,
        retriever: Retriever,
        name: str | None = None,
        revision: str = 'none',
    ) -> None:
        mteb = import_extra('mteb.models', 'mteb', 'a model of mteb')
        self.retriever = retriever
        encoder = retriever.encoder
        self.mteb_model_meta = mteb.ModelMeta.create_empty(
            dict(
                name=name or f'mmtvr/{encoder.info["name"]}',
                revision=revision,
                n_parameters=sum(
                    p.numel() for p in encoder.model.parameters()
                ),
                embed_dim=encoder.width,
                framework=['PyTorch'],
                modalities=[TEXT, VIDEO],
            )
        )
        self._corpus: tuple[list[str], str, TokenFeatures] | None = None

    def index(
        self, corpus: Any, *, encode_kwargs: Mapping[str, Any], **_: Any
    ) -> None:
        """Encode the documents of a task.

        Args:
            corpus: A ``datasets.Dataset`` with ``id``, and ``video`` or
                ``text`` (and ``title``).
            encode_kwargs: ``batch_size`` and ``show_progress_bar``.

        Raises:
            SetupError: It has neither, or both.
        """
        side, features = self._encode(corpus, encode_kwargs)
        self._corpus = list(corpus['id']), side, features

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Compare the queries of a task with its documents.

        Args:
            queries: Like the corpus of :meth:`index`.
            top_k: Documents of each query.
            encode_kwargs: See :meth:`index`.
            top_ranked: By query, the documents to rank; None for all.

        Returns:
            By query, documents and their similarity.

        Raises:
            SetupError: Nothing is indexed, or queries and documents are both
                texts or both videos.
        """
        if self._corpus is None:
            raise SetupError('index the corpus before searching')
        names, kind, documents = self._corpus
        side, features = self._encode(queries, encode_kwargs)
        if {side, kind} != {TEXT, VIDEO}:
            raise SetupError(
                f'queries and documents are both {kind}s; this model compares '
                'texts with videos'
            )
        pair = (features, documents)
        scores = self.retriever.similarity(
            *(pair if side == TEXT else pair[::-1])
        )
        scores = scores if side == TEXT else scores.T
        found = {}
        for query, row in zip(queries['id'], scores.tolist(), strict=True):
            scored = dict(zip(names, row, strict=True))
            if top_ranked is not None:
                wanted = top_ranked.get(query, ())
                scored = {name: scored[name] for name in wanted}
            best = sorted(scored, key=scored.__getitem__, reverse=True)
            found[query] = {name: scored[name] for name in best[:top_k]}
        self._corpus = None
        return found

    def _encode(
        self, rows: Any, options: Mapping[str, Any]
    ) -> tuple[str, TokenFeatures]:
        sides = [each for each in (TEXT, VIDEO) if each in rows.column_names]
        if len(sides) != 1:
            raise SetupError(
                'queries and documents must each be texts or videos, got the '
                f'columns {rows.column_names}'
            )
        progress = options.get('show_progress_bar', False)
        size = options.get('batch_size', 32)
        if sides == [TEXT]:
            titles = rows['title'] if 'title' in rows.column_names else ()
            texts = list(rows[TEXT])
            for place, title in enumerate(titles):
                texts[place] = f'{title or ""} {texts[place]}'.strip()
            return TEXT, self.retriever.encode_text(
                texts, batch_size=size, progress=progress
            )
        # What is in the table goes to disk some files at a time.
        parts = [
            self.retriever.encode_video(paths, batch_size=size)
            for paths in _write_videos(rows, size)
        ]
        return VIDEO, concatenate(parts)


def _write_videos(rows: Any, size: int) -> Iterator[list[Path]]:
    """Yield paths of some videos at a time; they are there until the next."""
    from datasets import Video

    if isinstance(rows.features[VIDEO], Video):
        rows = rows.cast_column(VIDEO, Video(decode=False))
    for start in range(0, len(rows), size):
        with tempfile.TemporaryDirectory() as folder:
            yield [
                _find_path(video, Path(folder, str(number)))
                for number, video in enumerate(
                    rows[start : start + size][VIDEO]
                )
            ]


def _find_path(video: Any, place: Path) -> Path:
    """The file of a video: where it is, or written from its bytes."""
    if isinstance(video, str):
        return Path(video)
    if not isinstance(video, dict):
        raise SetupError(
            f'videos must be files or datasets.Video, got {type(video)}'
        )
    if video.get('bytes') is None:
        return Path(video['path'])
    suffix = Path(video.get('path') or '').suffix
    path = place.with_suffix(suffix)
    path.write_bytes(video['bytes'])
    return path
