"""Send a file that is open already."""

import os
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

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
