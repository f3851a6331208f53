"""Verify all videos of a config: ``python tools/data/verify.py CONFIG``."""

import sys

from mmtvr.cli.verify import main

if __name__ == '__main__':
    sys.exit(main())
