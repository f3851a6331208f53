"""The command line of the doctor."""

import argparse
from collections.abc import Sequence

from mmtvr.doctor.checks import list_checks
from mmtvr.doctor.finding import worst
from mmtvr.doctor.isolation import run_checks
from mmtvr.doctor.report import show, to_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine this machine and print what was found.

    Args:
        arguments: The command line without the program; ``sys.argv`` if None.

    Returns:
        The exit status: 1 if there is an error, 0 for all else, warnings
        among it.
    """
    parser = argparse.ArgumentParser(
        prog='mmtvr doctor',
        description='Find out why this machine cannot train or search.',
        epilog='Exit status: 1 if there is an error, 0 otherwise, also with '
        'warnings.',
    )
    parser.add_argument(
        'config',
        nargs='?',
        help='examine the data and the weights of this config too',
    )
    parser.add_argument(
        '--json', action='store_true', help='print JSON, for programs'
    )
    options = parser.parse_args(arguments)
    findings = run_checks(list_checks(options.config))
    if options.json:
        found = list(findings)
        print(to_json(found))
    else:
        found = show(findings)
    return 1 if worst(found) == 'error' else 0
