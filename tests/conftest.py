"""Fixtures that several test modules share."""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Real data beside the project; tests that use it skip without it."""
    path = Path(__file__).resolve().parents[2] / 'shared'
    if not path.is_dir():
        pytest.skip('the folder ../shared with real data is absent')
    return path
