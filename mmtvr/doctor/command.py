"""The command line of the doctor."""

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print what was found.

    Args:
        arguments: The command line without the program; ``sys.argv`` if None.

    Returns:
        The exit status: 1 if there is an error, 0 for all else, warnings
        among it.
    """
    parser = argparse.ArgumentParser(
        prog='python -m mmtvr.doctor', description='Examine this machine.'
    )
    parser.add_argument('config', nargs='?', help='a config to examine too')
    parser.add_argument('--json', action='store_true', help='print JSON')
    parser.parse_args(arguments)
    return 0
