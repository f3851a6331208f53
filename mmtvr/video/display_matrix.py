"""How the file says that a frame is to be turned and mirrored."""

from itertools import pairwise
from typing import Any

# FFmpeg numbers what can be beside a frame from 0 on; it has 35 so far.
MOST_KINDS = 64


def read_matrix(frame: Any) -> bytes | None:
    """Get the display matrix of a frame.

    Args:
        frame: PyAV's frame.

    Returns:
        Nine numbers of 32 bits; None if there is none.
    """
    try:
        matrix = frame.side_data.get('DISPLAYMATRIX')
    except ValueError:
        # PyAV reads all that is beside a frame or nothing, and does not know
        # what has been added to FFmpeg since, as EXIF.
        matrix = _keep_known(frame).side_data.get('DISPLAYMATRIX')
    return None if matrix is None else bytes(matrix)


def _keep_known(frame: Any) -> Any:
    """Drop what is beside a frame and has no name in PyAV."""
    from av.filter import Graph
    from av.sidedata.sidedata import Type

    graph = Graph()
    known = {kind.value for kind in Type}
    filters = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or 1,
        ),
        *(
            graph.add('sidedata', mode='delete', type=str(number))
            for number in range(MOST_KINDS)
            if number not in known
        ),
        graph.add('buffersink'),
    ]
    for source, target in pairwise(filters):
        source.link_to(target)
    graph.configure()
    graph.push(frame)
    return graph.pull()
