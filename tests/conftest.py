"""What holds for all tests; fixtures of them are in ``fixtures/``."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests run in several processes; more threads would only get in their way.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch

# Read when Triton is first imported, which other packages do too.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

# How long inputs take to draw says how busy the machine is.
settings.register_profile(
    'mmtvr', deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile('mmtvr')

# Their folder is on the path, see pyproject.toml.
pytest_plugins = [
    'dual_models',
    'engine_servers',
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
