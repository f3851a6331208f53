"""Old path of tools/visualizations, kept for one release."""

import sys
import warnings

from mmtvr.cli.explain import main

if __name__ == '__main__':
    warnings.warn(
        'tools/analysis/explain.py has moved to '
        'tools/visualizations/explain.py',
        DeprecationWarning,
        stacklevel=1,
    )
    sys.exit(main())
