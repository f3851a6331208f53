"""What the model answers, as pages for people and as JSON for programs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as quote_url
from urllib.parse import urlencode

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation
from mmtvr.search.calibration import describe_probability, fits
from mmtvr.search.filters import Filter
from mmtvr.search.judgements import Judgements
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
    MAX_OFFSET,
    MAX_QUERY_LENGTH,
    BoundedExecutor,
    PageError,
    Result,
    client_of,
    read_count,
    read_match,
    read_offset,
    read_query,
    read_time,
    read_where,
)

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading
    from mmtvr.serve.updating import Updates

TEMPLATES = Path(__file__).parent / 'templates'
SHADES = 10
SOME, SIMILAR = 12, 8
CANDIDATES = 100
# Columns that say where files are on this machine.
HIDDEN = ('path',)


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
        matched: ``video``, ``text`` or both: what a text found.
        snippet: The text around what was found in it.
        snippet_time: Seconds to the subtitle that the snippet is.
        fields: Columns of the file, without its path.
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
    matched: tuple[str, ...] = ()
    snippet: str = ''
    snippet_time: float | None = None
    fields: dict[str, Any] = field(default_factory=dict, hash=False)
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


class Query(NamedTuple):
    """What is asked.

    Attributes:
        text: What is to be seen, or said.
        count: How many videos.
        where: A condition on their columns; empty for all.
        offset: How many of the best are left out.
        match: Where the text is looked for.
    """

    text: str
    count: int
    where: str = ''
    offset: int = 0
    match: str = 'auto'


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

    def search(self, queries: Sequence[Query]) -> list['Found | Exception']:
        """Videos of texts, the best first, for all of them together.

        Args:
            queries: What is asked.

        Returns:
            For each what was found, or why not.
        """
        try:
            return self._search([Query(*query) for query in queries])
        except IndexUnavailableError as error:
            return [error] * len(queries)
        except Exception as error:
            if len(queries) == 1:
                return [error]
            # One of them may be at fault.
            return [self.search([query])[0] for query in queries]

    def _search(self, queries: Sequence[Query]) -> list['Found']:
        videos = self.library.store.count_files()
        results: list[list[SearchResult]] = [[] for _ in queries]
        alike: dict[tuple, list[int]] = {}
        for number, query in enumerate(queries if videos else ()):
            alike.setdefault(query[2:], []).append(number)
        for numbers in alike.values():
            for number, found in zip(
                numbers, self._ask([queries[n] for n in numbers]), strict=True
            ):
                results[number] = found
        found = []
        for query, some in zip(queries, results, strict=True):
            reading = self.searcher.read_text(query.text)
            hits = list(map(_to_hit, some))
            found.append(Found(query.text, hits, reading, videos))
        return found

    def columns(self) -> dict[str, str]:
        """What a condition may name: nothing says where files are."""
        columns = self.library.store.list_columns()
        return {k: kind for k, kind in columns.items() if k not in HIDDEN}

    def _ask(self, queries: Sequence[Query]) -> list[list[SearchResult]]:
        """Results of texts that differ in nothing else but their number."""
        options: dict[str, Any] = {}
        first = queries[0]
        if first[2:] != Query('', 0)[2:]:
            options.update(
                where=first.where or None,
                offset=first.offset,
                match=first.match,
            )
        try:
            columns = self.columns() if first.where else {}
            if columns:
                Filter(first.where, columns)
            found = self.searcher.search(
                [query.text for query in queries],
                top_k=max(query.count for query in queries),
                moments=True,
                **options,
            )
        except IndexUnavailableError:
            raise
        except SetupError as error:
            url = self.library.store.url
            raise SetupError(str(error).replace(url, 'the index')) from error
        return [
            results[: query.count]
            for results, query in zip(found, queries, strict=True)
        ]

    def similar(self, entry: FileEntry, count: int) -> list[Hit]:
        """Videos like one of the index, the most similar first."""
        found = search_similar(
            self.library.store,
            self.library.features(entry),
            count + 1,
            max(CANDIDATES, count + 1),
        )
        others = without(found, entry.path, (entry.start, entry.end))
        return list(map(_to_hit, others[:count]))

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


def _to_hit(result: SearchResult) -> Hit:
    return Hit(
        result.key,
        display_name(result),
        result.score,
        result.rank,
        result.time,
        result.words,
        len(result.copies),
        result.is_gone,
        result.matched,
        result.snippet,
        result.snippet_time,
        {k: v for k, v in result.fields.items() if k not in HIDDEN},
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

    async def _search(self, request: Request, text: str) -> Found:
        return await self.executor.run_batched(
            self.answers.search,
            Query(
                text,
                read_count(request),
                read_where(request),
                read_offset(request),
                read_match(request),
            ),
            client_of(request),
        )


class Pages(_Asking):
    """Answer requests of people.

    Args:
        answers: What the model answers.
        executor: Where the model runs.
        title: What is served.
        updates: Takes in new files.
        judgements: What people say of results.
    """

    def __init__(
        self,
        answers: Answers,
        executor: BoundedExecutor,
        title: str,
        updates: 'Updates',
        judgements: Judgements,
    ) -> None:
        super().__init__(answers, executor)
        self.updates = updates
        self.judgements = judgements
        # Captions and file names are what others wrote.
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals |= dict(
            index=title,
            longest=MAX_QUERY_LENGTH,
            q='',
            shade=shade,
            judged=None,
            # Of the first page alone.
            can_index=False,
            indexing=dict(is_running=False),
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
            Route('/judge/{key}', self.judge, methods=['POST']),
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
        asked = dict(
            where=read_where(request),
            match=read_match(request),
            offset=read_offset(request),
        )
        columns = await self._run(request, self._columns)
        if not text:
            facts = await self._run(request, self._front)
            return self.render(
                'search', more='', columns=columns, **asked, **facts
            )
        found = await self._search(request, text)
        following = asked['offset'] + count
        more = ''
        further = len(found.hits) == count and following < found.videos
        if further and following <= MAX_OFFSET:
            more = '/?' + urlencode(
                dict(q=text, **{**asked, 'offset': following}, k=count)
            )
        return self.render(
            'search',
            q=text,
            more=more,
            columns=columns,
            **asked,
            hits=found.hits,
            judged=self.judgements.of_query(text),
            # The best of a later page says nothing of the first.
            fits=bool(asked['offset'])
            or fits(found.hits, found.reading.is_unknown),
            is_unknown=found.reading.is_unknown,
            videos=found.videos,
            note=found.reading.describe(),
            unreadable=0,
        )

    def _columns(self) -> list[str]:
        return sorted(self.answers.columns())

    def _front(self) -> dict[str, Any]:
        library = self.answers.library
        return dict(
            hits=self.answers.some(SOME),
            videos=library.store.count_files(),
            unreadable=len(library.unreadable()),
            can_index=self.updates.is_allowed,
            indexing=self.updates.describe(),
            note='',
        )

    async def judge(self, request: Request) -> Response:
        """``POST /judge/ID?q=TEXT&relevant=1``: right, 0 wrong, or neither."""
        text, key = _required(request), request.path_params['key']
        value = request.query_params.get('relevant', '')
        if value not in ('', '0', '1'):
            raise PageError('relevant must be 1, 0 or nothing.')

        def work() -> None:
            self.answers.library.find(key)
            relevant = bool(int(value)) if value else None
            self.judgements.add(text, key, relevant)

        await self._run(request, work)
        return RedirectResponse(f'/?q={quote_url(text)}', 303)

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
            Route('/api/columns', self.columns),
            Route('/health', self.health),
        ]

    async def search(self, request: Request) -> JSONResponse:
        """``/api/search?q=TEXT&k=24&where=SQL&offset=24``: videos."""
        text = _required(request)
        found = await self._search(request, text)
        return JSONResponse(
            dict(
                query=text,
                **found.reading._asdict(),
                note=found.reading.describe(),
                offset=read_offset(request),
                fits=fits(found.hits, found.reading.is_unknown),
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

    async def columns(self, request: Request) -> JSONResponse:
        """``/api/columns``: what ``where`` may name, and of which type."""
        found = await self._run(request, self.answers.columns)
        return JSONResponse(dict(columns=found))

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
