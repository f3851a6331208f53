"""Decode the videos of a config into its frame cache, before training."""

import sys

from mmtvr.cli.cache import main

if __name__ == '__main__':
    sys.exit(main())
