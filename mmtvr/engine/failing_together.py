"""Let all processes end by the error that one of them had."""

import contextlib
from collections.abc import Iterator

from mmengine.dist import broadcast_object_list

from mmtvr.errors import SetupError


@contextlib.contextmanager
def failing_together(hint: str = '') -> Iterator[None]:
    """Raise on all processes what the first one could not do.

    A collective operation. The others would wait for the first one until
    their time-out.

    Args:
        hint: Goes behind the message.

    Raises:
        SetupError: The first process raised one, or an ``OSError``.
    """
    problem = [None]
    try:
        yield
    except (SetupError, OSError) as error:
        problem = [f'{error}{hint}']
    broadcast_object_list(problem)
    if problem[0] is not None:
        raise SetupError(problem[0])
