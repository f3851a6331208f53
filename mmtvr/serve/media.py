"""The videos themselves, and pictures of them."""

import os
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mmtvr.serve.answers import OTHER, PLAYABLE
from mmtvr.serve.library import Library
from mmtvr.serve.requests import Lane, read_time
from mmtvr.serve.thumbnails import Pictures

# Opens the same file again, whatever its path leads to by now.
DESCRIPTORS = '/dev/fd'


class OpenFileResponse(FileResponse):
    """A file with ranges, conditions and HEAD, as ``FileResponse``.

    What is sent is the file that was opened and checked, not whatever its
    path leads to a moment later, where the system has ``/dev/fd``.

    Args:
        file: The open file; closed afterwards.
        about: What the system says of it.
        media_type: Its type.
    """

    def __init__(
        self, file: BinaryIO, about: os.stat_result, media_type: str
    ) -> None:
        path = f'{DESCRIPTORS}/{file.fileno()}'
        if not os.path.exists(path):
            path = file.name
        super().__init__(path, media_type=media_type, stat_result=about)
        self.file = file

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the file."""
        with self.file:
            await super().__call__(scope, receive, send)


KEEP = {'cache-control': 'private, max-age=3600'}


class Media:
    """Answer requests for videos and pictures.

    Args:
        library: The videos.
        pictures: Makes the pictures.
        lane: Where files are read.
    """

    def __init__(
        self, library: Library, pictures: Pictures, lane: Lane
    ) -> None:
        self.library = library
        self.pictures = pictures
        self.lane = lane

    @property
    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route('/video/{key}', self.video),
            Route('/poster/{key}', self.poster),
            Route('/strip/{key}', self.strip),
            Route('/preview/{key}', self.preview),
        ]

    async def video(self, request: Request) -> Response:
        """Send a video as it is, or a range of it."""
        return await self.lane.run(self._open, request.path_params['key'])

    async def poster(self, request: Request) -> Response:
        """Send the picture of a moment."""
        return await self._made(request, self.pictures.poster, 'image/jpeg')

    async def strip(self, request: Request) -> Response:
        """Send all frames that the index knows, side by side."""
        return await self._made(request, self.pictures.strip, 'image/jpeg')

    async def preview(self, request: Request) -> Response:
        """Send a short video that every browser plays."""
        return await self._made(request, self.pictures.preview, 'video/mp4')

    def _open(self, key: str) -> Response:
        entry = self.library.find(key)
        ending = Path(entry.path).suffix.lower()
        file, about = self.library.open(entry)
        return OpenFileResponse(file, about, PLAYABLE.get(ending, OTHER))

    async def _made(
        self, request: Request, make: object, media_type: str
    ) -> Response:
        arguments = [read_time(request)]
        if make == self.pictures.strip:
            arguments = []

        def work() -> Path:
            entry = self.library.find(request.path_params['key'])
            return make(entry, *arguments)

        path = await self.lane.run(work)
        return FileResponse(path, media_type=media_type, headers=KEEP)
