"""Prepare your own videos from a table or another layout of captions."""

import sys

from mmtvr.cli.prepare_table import main

if __name__ == '__main__':
    sys.exit(main())
