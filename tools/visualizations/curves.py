"""Plot training curves of one or several runs."""

import sys

from mmtvr.cli.curves import main

if __name__ == '__main__':
    sys.exit(main())
