"""What makes videos of all kinds, and readers that go wrong."""

from functools import partial
from pathlib import Path

import pytest

from mmtvr.video.decoder_process import end_decoder_process
from mmtvr.video.supervised_reader import SupervisedReader


@pytest.fixture(scope='session')
def tools():
    """The scripts that make and judge stamped videos."""
    from benchmarks.video_fuzz import compare_readers, kinds, special, stamped

    by_file = {kind.file: kind for kind in kinds.KINDS}
    return by_file, compare_readers, stamped, special


@pytest.fixture
def stubs(monkeypatch):
    """Stub readers, which each decoder process can import."""
    end_decoder_process()
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import stub_readers

    yield stub_readers
    end_decoder_process()


@pytest.fixture
def read(stubs):
    """Open and read with a reader that counts; returns the frames."""

    def read(name, indices=(5, 1), time_limit=30.0, **options):
        kind = partial(stubs.CountingReader, **options)
        with SupervisedReader(name, reader=kind, time_limit=time_limit) as r:
            return r.get_frames(indices)

    return read


@pytest.fixture(scope='session')
def is_alive():
    """Whether a process still runs."""

    def is_alive(pid):
        try:
            state = (
                Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0]
            )
        except FileNotFoundError:
            return False
        return state != 'Z'

    return is_alive
