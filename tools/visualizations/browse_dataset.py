"""Plot samples of a dataset as the model sees them."""

import sys

from mmtvr.cli.browse_dataset import main

if __name__ == '__main__':
    sys.exit(main())
