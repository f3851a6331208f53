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
LARGEST = 1 << 28


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
    (length,) = LENGTH.unpack(_read(pipe, LENGTH.size, deadline))
    if length > LARGEST:
        raise HelperEndedError(f'a message of {length} bytes')
    return json.loads(_read(pipe, length, deadline))


def _read(pipe: int, count: int, deadline: float | None) -> bytes:
    parts = []
    while count:
        if deadline is not None:
            _wait(pipe, deadline)
        part = os.read(pipe, count)
        if not part:
            raise HelperEndedError
        parts.append(part)
        count -= len(part)
    return b''.join(parts)


def _wait(pipe: int, deadline: float) -> None:
    # poll and not select, which refuses descriptors from 1024 on.
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    left = deadline - time.monotonic()
    if not poll.poll(max(0, 1000 * left)):
        raise TimeoutError
