"""Prepare msrvtt: original annotation files to the layout of mmtvr."""

import sys

from mmtvr.cli.prepare import prepare_benchmark

if __name__ == '__main__':
    sys.exit(prepare_benchmark('msrvtt'))
