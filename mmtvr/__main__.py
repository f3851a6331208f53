"""``python -m mmtvr``, as ``torchrun`` starts it."""

import sys

from mmtvr.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
