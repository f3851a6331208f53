"""A disk that gets full while a checkpoint is written."""

import errno
import os

import pytest

from mmtvr import files as atomic_file
from mmtvr.errors import SetupError


@pytest.fixture
def full_at(monkeypatch):
    """Let the disk be full from the Nth writing of a file on."""
    write = atomic_file.write_through

    def arrange(number):
        written = []

        def write_or_fail(path, content):
            written.append(path)
            if len(written) >= number:
                path.write_bytes(content[: len(content) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(path, content)

        monkeypatch.setattr(atomic_file, 'write_through', write_or_fail)

    yield arrange
    monkeypatch.undo()


# The toy writes iter_2, iter_4, iter_6, epoch_1, the best one and epoch_1
# again, a pointer after each but the best one.
@pytest.mark.parametrize(
    ('number', 'name', 'last'),
    [
        (5, 'iter_6.pth', 'iter_4.pth'),
        (6, 'last_checkpoint', 'iter_4.pth'),
        (9, 'best_toy_mean_epoch_1.pth', 'epoch_1.pth'),
        (10, 'epoch_1.pth', 'epoch_1.pth'),
    ],
)
def test_a_full_disk_stops_with_one_message_and_keeps_what_is_there(
    train,
    work,
    unbroken,
    assert_same,
    full_at,
    monkeypatch,
    number,
    name,
    last,
):
    full_at(number)
    message = rf'disk is full: \S*{name} needs .*MB free.*--resume'
    with pytest.raises(SetupError, match=message):
        train()
    assert not list(work.glob('*.partial'))
    assert (work / 'last_checkpoint').read_text() == str(work / last)
    monkeypatch.undo()
    assert_same(train(resume=True), unbroken())
