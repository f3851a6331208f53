"""Prepare activitynet: original annotation files to the layout of mmtvr."""

import sys

from mmtvr.cli.prepare import main
from mmtvr.datasets.preparation.activitynet import read_splits

if __name__ == '__main__':
    sys.exit(main('activitynet', read_splits, paragraphs=True))
