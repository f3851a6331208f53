"""Prepare your own videos from a CSV or JSONL table of (file, caption)."""

import sys

from mmtvr.cli.prepare import prepare_table

if __name__ == '__main__':
    sys.exit(prepare_table())
