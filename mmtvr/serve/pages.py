"""What the model answers, as pages for people and as JSON for programs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

from mmtvr.explanation import Explanation
from mmtvr.search.calibration import describe_probability, fits
from mmtvr.search.moments import Moment
from mmtvr.search.query import (
    SearchResult,
    VideoExplanation,
    WordMoment,
    choose_row,
    search_similar,
    to_features,
    without,
)
from mmtvr.search.stores.base import FileEntry, IndexUnavailableError
from mmtvr.serve.library import Library, display_name
from mmtvr.serve.media import PLAYABLE, preview_start
from mmtvr.serve.requests import (
    MAX_QUERY_LENGTH,
    MAX_RESULTS,
    BoundedExecutor,
    PageError,
    Result,
    client_of,
    read_count,
    read_query,
    read_time,
)

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading

TEMPLATES = Path(__file__).parent / 'templates'
SHADES = 10
SOME, SIMILAR = 12, 8
CANDIDATES = 100


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
        copies: Number of other files with the same content.
        is_gone: Whether the file, and each copy, is no longer there.
        probability: That it shows what is asked; None if it is not known.
        moments: From when to when it shows what was asked, the best first.
    """

    id: str
    name: str
    score: float | None = None
    rank: int = 0
    time: float | None = None
    words: tuple[WordMoment, ...] = ()
    copies: int = 0
    is_gone: bool = False
    probability: float | None = None
    moments: tuple[Moment, ...] = ()

    @property
    def fit(self) -> str:
        """The probability in words."""
        return describe_probability(self.probability or 0.0)

    @property
    def begin(self) -> float:
        """Where it is played from, in seconds."""
        return self.moments[0].start if self.moments else self.time or 0.0

    @property
    def extension(self) -> str:
        """Extension of the file name, in lower case."""
        dot = self.name.rfind('.')
        return self.name[dot:].lower() if dot > 0 else ''

    @property
    def plays(self) -> bool:
        """Whether browsers open files of this kind."""
        return self.extension in PLAYABLE

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
        """For JSON; with the addresses of video, poster and preview."""
        query = f'?{self.at}' if self.at else ''
        return {
            **asdict(self),
            'video': f'/video/{self.id}',
            'poster': f'/poster/{self.id}{query}',
            'preview': f'/preview/{self.id}{query}',
        }


class Found(NamedTuple):
    """What a text found.

    Attributes:
        text: The text.
        hits: The best first.
        reading: What of the text the model cannot read.
        videos: How many there are in the index.
    """

    text: str
    hits: list[Hit]
    reading: 'TextReading'
    videos: int


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

    def search(
        self, queries: Sequence[tuple[str, int]]
    ) -> list['Found | Exception']:
        """Videos of texts, the best first, for all of them together.

        Args:
            queries: Texts, and how many videos of each.

        Returns:
            For each what was found, or why not.
        """
        try:
            return self._search(queries)
        except IndexUnavailableError as error:
            return [error] * len(queries)
        except Exception as error:
            if len(queries) == 1:
                return [error]
            # One of them may be at fault.
            return [self.search([query])[0] for query in queries]

    def _search(self, queries: Sequence[tuple[str, int]]) -> list['Found']:
        videos = self.library.store.count_files()
        results: list[list[SearchResult]] = [[] for _ in queries]
        if videos:
            texts = [text for text, _ in queries]
            most = max(count for _, count in queries)
            results = [
                found[:count]
                for found, (_, count) in zip(
                    self.searcher.search(texts, top_k=most, moments=True),
                    queries,
                    strict=True,
                )
            ]
        every = self._to_hits([each for found in results for each in found])
        found = []
        for (text, _), some in zip(queries, results, strict=True):
            hits = [next(every) for _ in some]
            reading = self.searcher.read_text(text)
            shown = [hit for hit in hits if hit is not None]
            found.append(Found(text, shown, reading, videos))
        return found

    def similar(self, entry: FileEntry, count: int) -> list[Hit]:
        """Videos like one of the index, the most similar first."""
        found = search_similar(
            self.library.store,
            self.library.features(entry),
            count + 1,
            max(CANDIDATES, count + 1),
        )
        others = without(found, entry.path, (entry.start, entry.end))
        hits = self._to_hits(others[:count])
        return [hit for hit in hits if hit is not None]

    def explain(
        self, entry: FileEntry, text: str
    ) -> tuple[Explanation, list[float]]:
        """Why a text and a video have their score, and times in seconds.

        Raises:
            PageError: The index has only one vector of this video.
        """
        videos = self.library.features(entry)
        if not len(videos.tokens[0]):
            raise PageError(
                'The index has no frames of this video, only one vector: '
                'there is nothing to compare words with.'
            )
        encoder = self.searcher.encoder
        video = choose_row(encoder, text, videos)
        times = video.times[0][:: self.library.tokens_per_frame]
        return encoder.explain(text, to_features(video)), times.tolist()

    def some(self, count: int) -> list[Hit]:
        """A few videos, whichever come first."""
        entries = self.library.some(count)
        return [Hit(entry.key, display_name(entry)) for entry in entries]

    def _to_hits(
        self, results: Sequence[SearchResult]
    ) -> Iterator[Hit | None]:
        """Their hits; None for what has left the index since the search."""
        keys = [
            FileEntry(r.path, '', start=r.start, end=r.end).key
            for r in results
        ]
        entries = self.library.find_all(keys)
        for key, result in zip(keys, results, strict=True):
            if key not in entries:
                yield None
                continue
            yield Hit(
                key,
                display_name(entries[key]),
                result.score,
                result.rank,
                result.time,
                result.words,
                len(result.copies),
                result.is_gone,
                result.probability,
                result.moments,
            )


class _Asking:
    """Let the model answer requests, one of each client in turn."""

    def __init__(self, answers: Answers, executor: BoundedExecutor) -> None:
        self.answers = answers
        self.executor = executor

    async def _run(
        self, request: Request, work: Callable[[], Result]
    ) -> Result:
        return await self.executor.run(work, client=client_of(request))

    async def _search(self, request: Request, text: str, count: int) -> Found:
        return await self.executor.run_batched(
            self.answers.search, (text, count), client_of(request)
        )


class Pages(_Asking):
    """Answer requests of people.

    Args:
        answers: What the model answers.
        executor: Where the model runs.
        title: What is served.
    """

    def __init__(
        self, answers: Answers, executor: BoundedExecutor, title: str
    ) -> None:
        super().__init__(answers, executor)
        # Captions and file names are what others wrote.
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals |= dict(
            index=title, longest=MAX_QUERY_LENGTH, q='', shade=shade
        )
        self.templates.filters |= dict(clock=clock, shell=quote)

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route('/', self.search),
            Route('/watch/{key}', self.watch),
            Route('/similar/{key}', self.similar),
            Route('/explain/{key}', self.explain),
            Route('/unreadable', self.unreadable),
        ]

    def render(
        self, name: str, status: int = 200, **facts: Any
    ) -> HTMLResponse:
        """Fill the template of that name."""
        text = self.templates.get_template(f'{name}.html.j2').render(facts)
        return HTMLResponse(text, status)

    async def search(self, request: Request) -> HTMLResponse:
        """The search box, and what was found."""
        text, count = read_query(request), read_count(request)
        client = client_of(request)
        if not text:
            facts = await self.executor.run(self._front, client=client)
            return self.render('search', more=0, **facts)
        found = await self.executor.run_batched(
            self.answers.search, (text, count), client
        )
        more = min(2 * count, MAX_RESULTS)
        if len(found.hits) < count or count >= MAX_RESULTS:
            more = 0
        return self.render(
            'search',
            q=text,
            more=more,
            hits=found.hits,
            fits=fits(found.hits),
            videos=found.videos,
            note=found.reading.describe(),
            unreadable=0,
        )

    def _front(self) -> dict[str, Any]:
        library = self.answers.library
        return dict(
            hits=self.answers.some(SOME),
            videos=library.store.count_files(),
            unreadable=len(library.unreadable()),
            note='',
        )

    async def unreadable(self, request: Request) -> HTMLResponse:
        """The files that could not be read, and why."""

        def work() -> list[tuple[str, str]]:
            return [
                (display_name(entry), without_path(entry.error, entry.path))
                for entry in self.answers.library.unreadable()
            ]

        files = await self._run(request, work)
        return self.render('unreadable', files=files)

    async def watch(self, request: Request) -> HTMLResponse:
        """One video, why it was found, and what is like it."""
        text, time = read_query(request), read_time(request)
        key = request.path_params['key']

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            found = times = None
            if text:
                found, times = self.answers.explain(entry, text)
            moment = time
            if moment is None and found is not None:
                moment = times[int(found.sentence.argmax())]
            return dict(
                hit=Hit(key, display_name(entry), time=moment),
                why=found,
                times=times,
                hits=self.answers.similar(entry, SIMILAR),
            )

        return self.render(
            'watch',
            q=text,
            **await self._run(request, work),
        )

    async def similar(self, request: Request) -> HTMLResponse:
        """What is like a video."""
        text, count = read_query(request), read_count(request)
        key = request.path_params['key']

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            hits = self.answers.similar(entry, count)
            return dict(hit=Hit(key, display_name(entry)), hits=hits)

        return self.render(
            'similar',
            q=text,
            **await self._run(request, work),
        )

    async def explain(self, request: Request) -> HTMLResponse:
        """The table of words and frames alone, to be put into a page."""
        text, key = read_query(request), request.path_params['key']

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            found, times = self.answers.explain(entry, text)
            hit = Hit(key, display_name(entry))
            return dict(hit=hit, why=found, times=times)

        return self.render(
            'explain',
            q=text,
            **await self._run(request, work),
        )


class Api(_Asking):
    """Answer requests of programs.

    Args:
        answers: What the model answers.
        executor: Where the model runs.
    """

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route('/api/search', self.search),
            Route('/api/similar/{key}', self.similar),
            Route('/api/explain/{key}', self.explain),
            Route('/health', self.health),
        ]

    async def search(self, request: Request) -> JSONResponse:
        """``/api/search?q=TEXT&k=24``: videos of a text."""
        text, count = _required(request), read_count(request)
        found = await self._search(request, text, count)
        return JSONResponse(
            dict(
                query=text,
                **found.reading._asdict(),
                fits=fits(found.hits),
                results=[hit.to_dict() for hit in found.hits],
            )
        )

    async def similar(self, request: Request) -> JSONResponse:
        """``/api/similar/ID?k=24``: videos like a video."""
        key, count = request.path_params['key'], read_count(request)

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            hits = self.answers.similar(entry, count)
            return dict(id=key, results=[hit.to_dict() for hit in hits])

        return JSONResponse(await self._run(request, work))

    async def explain(self, request: Request) -> JSONResponse:
        """``/api/explain/ID?q=TEXT``: why they have their score."""
        key, text = request.path_params['key'], _required(request)

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            found, times = self.answers.explain(entry, text)
            name = display_name(entry)
            return VideoExplanation(text, name, times, found).to_dict()

        return JSONResponse(await self._run(request, work))

    async def health(self, request: Request) -> JSONResponse:
        """``/health``: whether the index can be read."""
        store = self.answers.library.store
        count = await self._run(request, store.count_files)
        return JSONResponse(dict(status='ok', videos=count))


def _required(request: Request) -> str:
    text = read_query(request)
    if not text:
        raise PageError('Say what to search for: ?q=TEXT')
    return text


def without_path(reason: str, path: str) -> str:
    """Why a file cannot be read, without saying where it is."""
    return reason.replace(path, Path(path).name).replace(
        str(Path(path).parent), ''
    )


def clock(seconds: float) -> str:
    """A time as players show it, with tenths below a minute."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minutes:02}:{rest:02}'
    return f'{minutes}:{rest:02}'


def shade(why: Explanation, cosine: float) -> str:
    """Class of the style sheet for a cosine, ``s0`` to ``s10``."""
    low = min(0.0, float(why.cosines.min()))
    high = max(float(why.cosines.max()), float(why.sentence.max()), 0.01)
    return f's{int(np.clip((cosine - low) / (high - low), 0, 1) * SHADES)}'
