"""Train a model: ``python tools/train.py CONFIG``."""

import sys

from mmtvr.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
