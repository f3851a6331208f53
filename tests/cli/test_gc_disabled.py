import gc

import pytest

from mmtvr.cli.command import gc_disabled


@pytest.fixture
def collection():
    """Set whether the collector runs; put back after the test."""
    was_on = gc.isenabled()
    switch = {True: gc.enable, False: gc.disable}
    yield lambda on: switch[on]()
    switch[was_on]()


@pytest.mark.parametrize('on', [True, False])
def test_collection_rests_and_is_as_before_after_an_error(collection, on):
    collection(on)
    rested = []

    def fail():
        with gc_disabled():
            rested.append(not gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert rested == [True]
    assert gc.isenabled() == on
