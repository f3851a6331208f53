"""Prepare msvd: original annotation files to the layout of mmtvr."""

import sys

from mmtvr.cli.prepare import main

if __name__ == '__main__':
    sys.exit(main('msvd'))
