"""Messages between a process and its helper: a length, then JSON.

JSON and not pickle, so that a decoder gone wrong can make the other side
execute nothing.
"""

import json
import os
import select
import struct
import time

LENGTH = struct.Struct('<I')
CHUNK = 1 << 16


class HelperEndedError(Exception):
    """The other side has closed its end of the pipe."""


def write_message(pipe: int, message: dict) -> None:
    """Write one message.

    Args:
        pipe: File descriptor.
        message: What JSON can hold.

    Raises:
        HelperEndedError: If nobody reads any more.
    """
    content = json.dumps(message).encode()
    left = memoryview(LENGTH.pack(len(content)) + content)
    try:
        while left:
            left = left[os.write(pipe, left) :]
    except BrokenPipeError as error:
        raise HelperEndedError from error


def read_message(pipe: int, deadline: float | None = None) -> dict:
    """Read one message.

    Args:
        pipe: File descriptor.
        deadline: When to stop waiting, by :func:`time.monotonic`; None: never.

    Returns:
        What was written.

    Raises:
        HelperEndedError: If the other side has ended.
        TimeoutError: If the message is not there by the deadline.
    """
    content = bytearray()
    end = LENGTH.size
    while len(content) < end:
        if deadline is not None:
            _wait(pipe, deadline)
        # Each side waits for the other, so no second message follows: one
        # read gets all of a small one.
        part = os.read(pipe, CHUNK)
        if not part:
            raise HelperEndedError
        content += part
        if len(content) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(content)[0]
    if len(content) > end:
        raise HelperEndedError('it said more than it was asked for')
    return json.loads(content[LENGTH.size :])


def _wait(pipe: int, deadline: float) -> None:
    # poll and not select, which refuses descriptors from 1024 on.
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    left = deadline - time.monotonic()
    if not poll.poll(max(0, 1000 * left)):
        raise TimeoutError
