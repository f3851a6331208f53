"""Verify vatex: counts, video files, and the best R@1 within reach."""

import sys

from mmtvr.cli.verify import main_benchmark

if __name__ == '__main__':
    sys.exit(main_benchmark('vatex'))
