"""The command ``python -m mmtvr.doctor``."""

import sys

from mmtvr.doctor import main

if __name__ == '__main__':
    sys.exit(main())
