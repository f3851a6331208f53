import runpy

import pytest


@pytest.fixture(scope='session')
def load_benchmark():
    """Names that a module of ``benchmarks`` defines, as if it were new."""
    return lambda name: runpy.run_module(f'benchmarks.{name}')
