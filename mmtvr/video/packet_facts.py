"""What a packet says of itself."""

from typing import NamedTuple


class PacketFacts(NamedTuple):
    """What decides whether a packet can be left out, or begun with.

    Attributes:
        closed: No picture behind it refers to one before it.
        droppable: No other picture refers to it.
        parameters: It carries settings that later packets may need.
        shown: It holds exactly one picture to show.
    """

    closed: bool = False
    droppable: bool = False
    parameters: bool = False
    shown: bool = True
