"""Compute features of frozen towers: ``python tools/extract.py CONFIG``."""

import sys

from mmtvr.cli.extract import main

if __name__ == '__main__':
    sys.exit(main())
