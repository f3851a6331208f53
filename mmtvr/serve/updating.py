"""Taking new files into the served index, and how far that is."""

import logging
import threading
from typing import Any

from mmengine.logging import print_log
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mmtvr.errors import SetupError
from mmtvr.search.indexing import Indexer
from mmtvr.search.progress import read_progress
from mmtvr.search.video_files import find_videos
from mmtvr.serve.requests import PageError

FACTS = ('width', 'precision', 'parts')
NOT_POSSIBLE = 'Taking in new files failed: the log of the server says why.'


class NotAllowedError(PageError):
    """The server takes in no files when somebody asks."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            'This server takes in no files from its page: whoever runs it '
            'can allow it with --allow-indexing.'
        )


class Updates:
    """Looks again at what the index was made of, in a thread of its own.

    Args:
        searcher: With an open index.
        is_allowed: Whether whoever asks may let it.
    """

    def __init__(self, searcher: Any, is_allowed: bool) -> None:
        self.searcher = searcher
        self.is_allowed = is_allowed
        self._thread: threading.Thread | None = None
        self._indexer: Indexer | None = None
        self._message = ''

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route('/indexing', self.start, methods=['POST']),
            Route('/indexing', self.report),
        ]

    async def start(self, request: Request) -> Response:
        """``POST /indexing``: look for new files, unless that goes on."""
        if not self.is_allowed:
            raise NotAllowedError
        if self._thread is None or not self._thread.is_alive():
            self._message = ''
            self._thread = threading.Thread(
                target=self._work, name='indexing', daemon=True
            )
            self._thread.start()
        # A browser without JavaScript sees how far it is on the first page.
        return RedirectResponse('/', 303)

    async def report(self, request: Request) -> JSONResponse:
        """``GET /indexing``: how far it is."""
        return JSONResponse(self.describe())

    def describe(self) -> dict[str, Any]:
        """Whether files are being indexed, by whomever, and how far."""
        now = None
        if self._thread is not None and self._thread.is_alive():
            indexer = self._indexer
            now = None if indexer is None else indexer.progress_file.now
            is_running = True
        else:
            now = read_progress(self.searcher.store.url)
            is_running = now is not None and now.is_running
            now = now if is_running else None
        return dict(
            is_running=is_running,
            done=0 if now is None else now.done,
            total=0 if now is None else now.total,
            failed=0 if now is None else now.failed,
            message=self._message,
        )

    def _work(self) -> None:
        try:
            self._message = self._index()
        except SetupError as error:
            print_log(str(error), 'current', logging.ERROR)
            self._message = NOT_POSSIBLE
        except Exception as error:
            print_log(repr(error), 'current', logging.ERROR)
            self._message = NOT_POSSIBLE
        finally:
            self._indexer = None

    def _index(self) -> str:
        store, encoder = self.searcher.store, self.searcher.encoder
        info = store.require_info()
        entries = list(store.list_files())
        sources = {entry.source or entry.path for entry in entries}
        self._indexer = Indexer(
            store,
            encoder,
            {**encoder.info, **{fact: info[fact] for fact in FACTS}},
            progress=False,
        )
        report = self._indexer.run(find_videos(sorted(sources)))
        new = report.encoded + report.reused
        message = f'{new} new, {report.removed} gone.'
        failed = len(report.unreadable)
        if failed:
            message += f' {failed} could not be read.'
        return message
