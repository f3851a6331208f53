"""Write a page of the test queries at which a model fails."""

import sys

from mmtvr.cli.failures import main

if __name__ == '__main__':
    sys.exit(main())
