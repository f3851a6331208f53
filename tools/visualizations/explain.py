"""Plot why a text and a video have their score."""

import sys

from mmtvr.cli.explain import main

if __name__ == '__main__':
    sys.exit(main())
