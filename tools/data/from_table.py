"""Prepare your own videos from a CSV or JSONL table of (file, caption)."""

import argparse
import sys
from pathlib import Path

from mmtvr.cli.prepare import prepare
from mmtvr.datasets.preparation.table import read_pairs
from mmtvr.errors import SetupError
from mmtvr.sanitize import for_terminal


def main() -> int:
    """Run the command; the exit status is 1 when the table is not usable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'table',
        type=Path,
        help='CSV with a header, or JSONL: file, caption, optionally start '
        'and end in seconds',
    )
    parser.add_argument('output', type=Path, help='folder for the JSON file')
    parser.add_argument(
        '--split', help='name of the JSON file (default: name of the table)'
    )
    options = parser.parse_args()
    try:
        videos = read_pairs(options.table)
        split = options.split or options.table.stem
        prepare('custom', {split: videos}, options.output)
    except (SetupError, OSError) as error:
        print(f'error: {for_terminal(str(error))}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
