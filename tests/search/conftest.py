"""A few videos of moving shapes and a model that searches them as it is."""

import pytest

from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """Folder of six videos; do not change it."""
    root = tmp_path_factory.mktemp('shapes')
    return ensure_moving_shapes(root, 'test', 6, 0) / 'videos'
