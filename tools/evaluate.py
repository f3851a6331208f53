"""Evaluate any system's scores: ``python tools/evaluate.py SIMS.npy``."""

import sys

from mmtvr.cli.evaluate import main

if __name__ == '__main__':
    sys.exit(main())
