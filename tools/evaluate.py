"""Evaluate any system's scores: ``python tools/evaluate.py SIMS.npy``."""

import sys

from mmtvr.apis.evaluate import evaluate_file, parse_args
from mmtvr.cli.command import run_command


def main() -> None:
    """Print the report."""
    print(evaluate_file(parse_args()))


if __name__ == '__main__':
    sys.exit(run_command(main))
