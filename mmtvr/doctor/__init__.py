"""Find out why a machine cannot train or search: ``mmtvr doctor``.

Nothing heavy is imported before the check that needs it, and each check runs
in a process of its own with a time limit: the doctor starts, and ends, where
PyTorch or mmengine are missing, broken or never return.
"""

from mmtvr.doctor.checks import main
from mmtvr.doctor.findings import Finding

__all__ = ['Finding', 'main']
