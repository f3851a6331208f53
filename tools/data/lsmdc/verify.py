"""Verify lsmdc: counts, video files, and the ceiling."""

import sys

from mmtvr.apis.verify import main

if __name__ == '__main__':
    sys.exit(main('lsmdc'))
