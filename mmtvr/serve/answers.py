"""What the model answers, as the pages show it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmtvr.explanation import Explanation
from mmtvr.search.query import (
    SearchResult,
    WordMoment,
    search_similar,
    to_features,
)
from mmtvr.search.stores.base import FileEntry
from mmtvr.serve.library import Library, display_name
from mmtvr.serve.requests import NotIndexedError, PageError
from mmtvr.serve.thumbnails import preview_start

# What browsers open; if they cannot decode it after all, they go on with the
# preview.
PLAYABLE = {
    '.m4v': 'video/mp4',
    '.mov': 'video/mp4',
    '.mp4': 'video/mp4',
    '.webm': 'video/webm',
}
CANDIDATES = 100
OTHER = 'application/octet-stream'


@dataclass(frozen=True)
class Hit:
    """One video on a page.

    Attributes:
        id: Key of the file in the index.
        name: What it is called.
        score: Similarity; None if nothing was asked.
        rank: 1 for the best; 0 if nothing was asked.
        time: Seconds to the best moment; None if it is not known.
        words: Key words and their moments.
    """

    id: str
    name: str
    score: float | None = None
    rank: int = 0
    time: float | None = None
    words: tuple[WordMoment, ...] = ()

    @property
    def ending(self) -> str:
        """Ending of the file name, in lower case."""
        dot = self.name.rfind('.')
        return self.name[dot:].lower() if dot > 0 else ''

    @property
    def plays(self) -> bool:
        """Whether browsers open files of this kind."""
        return self.ending in PLAYABLE

    @property
    def at(self) -> str:
        """The moment as part of an address, or nothing."""
        return '' if self.time is None else f't={self.time:.2f}'

    @property
    def lead(self) -> float:
        """Seconds from the beginning of the preview to the moment."""
        moment = self.time or 0.0
        return moment - preview_start(moment)

    def to_dict(self) -> dict[str, Any]:
        """For JSON.

        Returns:
            The fields, and the addresses of the video, of its poster and of
            its preview.
        """
        query = f'?{self.at}' if self.at else ''
        return {
            **asdict(self),
            'video': f'/video/{self.id}',
            'poster': f'/poster/{self.id}{query}',
            'preview': f'/preview/{self.id}{query}',
        }


class Answers:
    """Ask the model; from one thread at a time.

    Args:
        searcher: A :class:`mmtvr.apis.searcher.TextVideoSearcher` with an
            open index.
        library: The videos.
    """

    def __init__(self, searcher: Any, library: Library) -> None:
        self.searcher = searcher
        self.library = library

    def search(self, text: str, count: int) -> list[Hit]:
        """Search by text.

        Args:
            text: The query.
            count: How many.

        Returns:
            The best first.
        """
        if not self.library.store.count_videos():
            return []
        return self._to_hits(self.searcher.search(text, top_k=count))

    def similar(self, entry: FileEntry, count: int) -> list[Hit]:
        """Search by a video of the index.

        Args:
            entry: The video.
            count: How many.

        Returns:
            The most similar first, without itself.
        """
        found = search_similar(
            self.library.store,
            self.library.features(entry),
            count + 1,
            max(CANDIDATES, count + 1),
        )
        hits = [hit for hit in self._to_hits(found) if hit.id != entry.key]
        return [
            replace(hit, rank=rank)
            for rank, hit in enumerate(hits[:count], start=1)
        ]

    def explain(
        self, entry: FileEntry, text: str
    ) -> tuple[Explanation, list[float]]:
        """Say why a text and a video have their score.

        Args:
            entry: The video.
            text: The text.

        Returns:
            The numbers, and the times of the frames in seconds.

        Raises:
            PageError: The index has only one vector of this video.
        """
        videos = self.library.features(entry)
        if not len(videos.tokens[0]):
            raise PageError(
                'The index has no frames of this video, only one vector: '
                'there is nothing to compare words with.'
            )
        features = to_features(videos)
        found = self.searcher.encoder.explain(text, features)
        return found, videos.times[0].tolist()

    def some(self, count: int) -> list[Hit]:
        """A few videos, whichever come first.

        Args:
            count: How many.

        Returns:
            The videos.
        """
        entries = self.library.some(count)
        return [Hit(entry.key, display_name(entry)) for entry in entries]

    def _to_hits(self, results: Sequence[SearchResult]) -> list[Hit]:
        hits = []
        for result in results:
            key = FileEntry(
                result.path, '', start=result.start, end=result.end
            ).key
            try:
                entry = self.library.find(key)
            except NotIndexedError:
                # It has left the index since the search.
                continue
            hits.append(
                Hit(
                    key,
                    display_name(entry),
                    result.score,
                    result.rank,
                    result.time,
                    result.words,
                )
            )
        return hits
