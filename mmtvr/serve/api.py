"""The same answers as JSON."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from mmtvr.search.query import VideoExplanation
from mmtvr.serve.answers import Answers
from mmtvr.serve.library import display_name
from mmtvr.serve.requests import Lane, PageError, read_count, read_query


class Api:
    """Answer requests of programs.

    Args:
        answers: What the model answers.
        lane: Where the model runs.
    """

    def __init__(self, answers: Answers, lane: Lane) -> None:
        self.answers = answers
        self.lane = lane

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
        hits = await self.lane.run(self.answers.search, text, count)
        results = [hit.to_dict() for hit in hits]
        return JSONResponse(dict(query=text, results=results))

    async def similar(self, request: Request) -> JSONResponse:
        """``/api/similar/ID?k=24``: videos like a video."""
        key, count = request.path_params['key'], read_count(request)

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            hits = self.answers.similar(entry, count)
            return dict(id=key, results=[hit.to_dict() for hit in hits])

        return JSONResponse(await self.lane.run(work))

    async def explain(self, request: Request) -> JSONResponse:
        """``/api/explain/ID?q=TEXT``: why they have their score."""
        key, text = request.path_params['key'], _required(request)

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            found, times = self.answers.explain(entry, text)
            name = display_name(entry)
            return VideoExplanation(text, name, times, found).to_dict()

        return JSONResponse(await self.lane.run(work))

    async def health(self, request: Request) -> JSONResponse:
        """``/health``: whether the index can be read."""
        count = await self.lane.run(self.answers.library.store.count_videos)
        return JSONResponse(dict(status='ok', videos=count))


def _required(request: Request) -> str:
    text = read_query(request)
    if not text:
        raise PageError('Say what to search for: ?q=TEXT')
    return text
