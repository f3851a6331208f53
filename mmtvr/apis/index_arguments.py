"""What every command that opens an index asks for."""

import argparse


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
