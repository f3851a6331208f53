"""Decode the videos of a config into its frame cache, before training."""

import sys

from mmtvr.cli.cache import main
from mmtvr.cli.command import run_command

if __name__ == '__main__':
    sys.exit(run_command(main))
