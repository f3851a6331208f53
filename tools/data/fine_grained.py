"""Write partial captions and twins of an annotation file."""

import argparse
import sys
from pathlib import Path

from mmtvr.cli.command import run_command
from mmtvr.cli.fine_grained import write_set


def main() -> None:
    """Write the set, and print some of it to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('annotations', type=Path, help='of prepare.py')
    parser.add_argument('output', type=Path, help='a .json file')
    parser.add_argument(
        '--tagger', default='hanta', help='hanta, or spacy:MODEL'
    )
    parser.add_argument(
        '--per-kind', type=int, default=500, help='most records of a kind'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--sheet',
        type=int,
        default=0,
        metavar='N',
        help='print about so many records, drawn evenly from all kinds',
    )
    write_set(**vars(parser.parse_args()))


if __name__ == '__main__':
    sys.exit(run_command(main))
