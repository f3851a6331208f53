"""Check all videos of a config: ``python tools/data/verify.py CONFIG``."""

import sys

from mmtvr.apis.verify_config import EXIT_FOUND, parse_args, verify_config
from mmtvr.cli.command import run_command


def main() -> int:
    """Run the command.

    Returns:
        The exit status: 1 when something was found or cannot be used.
    """
    options = parse_args()
    clean = []
    status = run_command(lambda: clean.append(verify_config(options)))
    return status or (0 if clean[0] else EXIT_FOUND)


if __name__ == '__main__':
    sys.exit(main())
