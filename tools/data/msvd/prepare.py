"""Prepare msvd: original annotation files to the layout of mmtvr."""

import sys

from mmtvr.cli.prepare import main
from mmtvr.datasets.preparation.msvd import read_splits

if __name__ == '__main__':
    sys.exit(main('msvd', read_splits))
