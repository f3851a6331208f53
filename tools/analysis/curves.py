"""Old path of tools/visualizations, kept for one release."""

import sys
import warnings

from mmtvr.cli.curves import main

if __name__ == '__main__':
    warnings.warn(
        'tools/analysis/curves.py has moved to tools/visualizations/curves.py',
        DeprecationWarning,
        stacklevel=1,
    )
    sys.exit(main())
