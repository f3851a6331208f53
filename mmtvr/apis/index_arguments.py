"""What every command that opens an index asks for."""

import argparse
from collections.abc import Callable


def add_index(parser: argparse.ArgumentParser) -> None:
    """Add the index, and where its model is and computes.

    Args:
        parser: Gets the arguments.
    """
    parser.add_argument('index', help='folder or address of the index')
    parser.add_argument(
        '--checkpoint',
        help='where the checkpoint of the index is now, if it has moved',
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add where the model computes.

    Args:
        parser: Gets the argument.
    """
    parser.add_argument(
        '--device', help='cpu, cuda or cuda:1 (default: a GPU if there is one)'
    )


def at_least(least: int) -> Callable[[str], int]:
    """Make the ``type`` of an argument that counts something.

    Args:
        least: The smallest number that makes sense.

    Returns:
        Reads a whole number, and refuses a smaller one.
    """

    def read(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f'{number} is below {least}')
        return number

    # What argparse calls it where the text is no number.
    read.__name__ = 'whole number'
    return read
