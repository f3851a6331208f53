"""Whether a package can be imported, not only found."""

import time
import warnings
from importlib import import_module

from mmtvr.doctor.finding import Finding

NAME = 'imports'
# Name of the module: what pip calls its package.
PIP_NAMES = {
    'cv2': 'opencv-contrib-python',
    'mmaction': 'mmaction2',
    'mmcv': 'mmcv-lite',
    'sklearn': 'scikit-learn',
}


def check_import(module: str) -> list[Finding]:
    """Import a module.

    Args:
        module: Its name.

    Returns:
        One finding: how long it took, or why it failed.
    """
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import_module(module)
    except BaseException as error:
        reason = str(error).strip().splitlines() or ['']
        package = PIP_NAMES.get(module, module)
        return [
            Finding(
                *(NAME, module, 'error'),
                f'{type(error).__name__}: {reason[0]}',
                'pip install --force-reinstall --no-deps '
                f'-c requirements/lock.txt {package}',
            )
        ]
    taken = time.perf_counter() - start
    return [Finding(NAME, module, 'ok', f'imported in {taken:.1f} s')]
