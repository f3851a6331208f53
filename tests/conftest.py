"""What holds for all tests; fixtures of them are in ``fixtures/``."""

import os
from pathlib import Path

import pytest

# Tests run in several processes; more threads would only get in their way.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch

# Read when Triton is first imported, which other packages do too.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

# Their folder is on the path, see pyproject.toml.
pytest_plugins = [
    'dual_models',
    'forks',
    'hub_standin',
    'tiny_clip',
    'tiny_config',
    'tiny_videos',
    'tower_models',
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, so that no process ends with one.

    The order within a file and among the other files stays.
    """
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Real data beside the project; tests that use it skip without it."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip('the folder ../shared with real data is absent')
    return path
