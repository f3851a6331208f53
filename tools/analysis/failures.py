"""Old path of tools/visualizations, kept for one release."""

import sys
import warnings

from mmtvr.cli.failures import main

if __name__ == '__main__':
    warnings.warn(
        'tools/analysis/failures.py has moved to '
        'tools/visualizations/failures.py',
        DeprecationWarning,
        stacklevel=1,
    )
    sys.exit(main())
