import os
from pathlib import Path

import pytest

from mmtvr.datasets.video_check import (
    CheckedFiles,
    count_workers,
    thread_map,
)
from mmtvr.video import UnreadableVideoError
from mmtvr.video import decoder_process as helpers


def test_a_result_holds_until_the_file_changes(tmp_path):
    base, file = tmp_path / 'new' / 'x.sqlite', tmp_path / 'naïve\udcff.mp4'
    file.write_bytes(b'one')
    checked = CheckedFiles(base)
    assert checked.get(str(file), 'how') is None
    checked.put(str(file), 'how', 'broken')
    # What one process has written, another one sees at once.
    again = CheckedFiles(base)
    result, age = again.get(str(file), 'how')
    assert result == 'broken'
    assert 0 <= age < 60
    assert again.get(str(file), 'otherwise') is None
    again.put(str(file), 'how', '')
    assert checked.get(str(file), 'how')[0] == ''
    os.utime(file, ns=(0, 0))
    assert checked.get(str(file), 'how') is None
    checked.put(str(file), 'how', '')
    file.write_bytes(b'three')
    os.utime(file, ns=(0, 0))
    assert checked.get(str(file), 'how') is None
    file.unlink()
    checked.put(str(file), 'how', '')
    assert checked.get(str(file), 'how') is None
    checked.close()
    again.close()


def test_another_file_is_not_taken_for_a_base(tmp_path):
    path = tmp_path / 'x.sqlite'
    path.write_bytes(b'no data base at all' * 100)
    with pytest.raises(OSError, match=r'x\.sqlite'):
        CheckedFiles(path)


def test_all_items_are_worked_on_each_once():
    results = dict(thread_map(lambda x: x * x, range(50), workers=4))
    assert results == {number: number**2 for number in range(50)}
    assert dict(thread_map(str, [])) == {}
    assert count_workers(1) == 1


def test_an_interruption_does_not_wait_for_decoders(tiny_videos, monkeypatch):
    helpers.end_decoder_process()
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / 'video')
    from stub_readers import CountingReader

    from mmtvr.video.supervised_reader import SupervisedReader

    ended = []

    def work(name):
        try:
            with SupervisedReader(name, reader=CountingReader) as reader:
                reader.get_frames([5])
        except UnreadableVideoError as error:
            ended.append(str(error))
        return name

    results = thread_map(work, ['blocks', 'good', 'blocks'], 2)
    assert next(results) == (1, 'good')
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert ended
    assert all('SIGKILL' in message for message in ended)
    helpers.end_decoder_process()
