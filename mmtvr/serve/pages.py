"""The pages that people see."""

from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from mmtvr.explanation import Explanation
from mmtvr.serve.answers import Answers, Hit
from mmtvr.serve.library import display_name
from mmtvr.serve.requests import (
    LONGEST_QUERY,
    MOST_SHOWN,
    Lane,
    read_count,
    read_query,
    read_time,
)

TEMPLATES = Path(__file__).parent / 'templates'
SHADES = 10
SOME, SIMILAR = 12, 8


class Pages:
    """Answer requests of people.

    Args:
        answers: What the model answers.
        lane: Where the model runs.
        title: What is served.
    """

    def __init__(self, answers: Answers, lane: Lane, title: str) -> None:
        self.answers = answers
        self.lane = lane
        # Captions and file names are what others wrote.
        self.templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.globals |= dict(
            index=title, longest=LONGEST_QUERY, q='', shade=shade
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
        ]

    def render(
        self, name: str, status: int = 200, **facts: Any
    ) -> HTMLResponse:
        """Fill a template.

        Args:
            name: Its name.
            status: HTTP status.
            **facts: What it shows.

        Returns:
            The page.
        """
        text = self.templates.get_template(f'{name}.html.j2').render(facts)
        return HTMLResponse(text, status)

    async def search(self, request: Request) -> HTMLResponse:
        """The search box, and what was found."""
        text, count = read_query(request), read_count(request)

        def work() -> dict[str, Any]:
            videos = self.answers.library.store.count_videos()
            if not text:
                return dict(hits=self.answers.some(SOME), videos=videos)
            hits = self.answers.search(text, count)
            return dict(hits=hits, videos=videos)

        facts = await self.lane.run(work)
        more = min(2 * count, MOST_SHOWN)
        if len(facts['hits']) < count or count >= MOST_SHOWN or not text:
            more = 0
        return self.render('search', q=text, more=more, **facts)

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

        return self.render('watch', q=text, **await self.lane.run(work))

    async def similar(self, request: Request) -> HTMLResponse:
        """What is like a video."""
        text, count = read_query(request), read_count(request)
        key = request.path_params['key']

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            hits = self.answers.similar(entry, count)
            return dict(hit=Hit(key, display_name(entry)), hits=hits)

        return self.render('similar', q=text, **await self.lane.run(work))

    async def explain(self, request: Request) -> HTMLResponse:
        """The table of words and frames alone, to be put into a page."""
        text, key = read_query(request), request.path_params['key']

        def work() -> dict[str, Any]:
            entry = self.answers.library.find(key)
            found, times = self.answers.explain(entry, text)
            hit = Hit(key, display_name(entry))
            return dict(hit=hit, why=found, times=times)

        return self.render('explain', q=text, **await self.lane.run(work))


def clock(seconds: float) -> str:
    """A time as players show it.

    Args:
        seconds: Not negative.

    Returns:
        Minutes and seconds, with tenths below a minute.
    """
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours}:{minutes:02}:{rest:02}'
    return f'{minutes}:{rest:02}'


def shade(why: Explanation, cosine: float) -> str:
    """Which of the colours of the table a cosine has.

    Args:
        why: The table.
        cosine: One of its values.

    Returns:
        Name of a class of the style sheet, ``s0`` to ``s10``.
    """
    low = min(0.0, float(why.cosines.min()))
    high = max(float(why.cosines.max()), float(why.sentence.max()), 0.01)
    return f's{int(np.clip((cosine - low) / (high - low), 0, 1) * SHADES)}'
