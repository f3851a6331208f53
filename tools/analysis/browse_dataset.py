"""Old path of tools/visualizations, kept for one release."""

import sys
import warnings

from mmtvr.cli.browse_dataset import main

if __name__ == '__main__':
    warnings.warn(
        'tools/analysis/browse_dataset.py has moved to '
        'tools/visualizations/browse_dataset.py',
        DeprecationWarning,
        stacklevel=1,
    )
    sys.exit(main())
