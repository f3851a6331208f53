"""The readers that ``fuzz_annotations.py`` feeds, each with a valid file."""

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmtvr.apis.evaluation import load_bank, load_table, read_match
from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.datasets.input_files import find_name_fault
from mmtvr.datasets.preparation import (
    LSMDC_FILES,
    read_activitynet,
    read_didemo,
    read_lsmdc,
    read_msrvtt,
    read_msvd,
    read_pairs,
    read_vatex,
)


@dataclass(frozen=True)
class Reader:
    """A reader, and a file that it reads.

    Attributes:
        name: Name in the table.
        file: Name of the file that is fuzzed.
        seed: A valid content.
        read: From the folder to what is read.
        others: Further files that the reader needs, valid.
    """

    name: str
    file: str
    seed: bytes
    read: Callable[[Path], object]
    others: dict[str, bytes] = field(default_factory=dict)

    def run(self, folder: Path, data: bytes) -> None:
        """Write the files, read them and check what comes."""
        for name, content in {**self.others, self.file: data}.items():
            (folder / name).write_bytes(content)
        content = self.read(folder)
        if isinstance(content, dict):
            content = [video for split in content.values() for video in split]
        if isinstance(content, list):
            check_records(content)


def check_records(records: Iterable[VideoCaptions]) -> None:
    """Check what a reader of annotations returned."""
    for record in records:
        assert isinstance(record, VideoCaptions), record
        assert find_name_fault(record.file) is None, record.file
        for caption in record.captions:
            caption.encode('utf-8')
        start, end = record.start or 0.0, record.end
        assert 0 <= start < float('inf'), start
        assert end is None or start < end < float('inf'), end


def _encode(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _array(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _vector(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _lists(name: str) -> dict[str, bytes]:
    return {f'{split}_list.txt': name for split in ('train', 'val', 'test')}


OURS = _encode(
    {'videos': [dict(file='a.mp4', captions=['a dog'], start=0, end=9.5)]}
)
SENTENCES = _encode(
    {'sentences': [dict(sen_id=0, video_id='video0', caption='a dog runs')]}
)
LSMDC = b'1_Movie_00.01.02.003-00.01.05.004\ta\tb\tc\td\tShe runs.\n'
STORY = _encode(
    {'v_a': dict(duration=9, timestamps=[[0, 9]], sentences=['a'])}
)
MOMENTS = _encode([dict(video='a.mp4', description='a dog', times=[[0, 1]])])
ENGLISH = _encode([dict(videoID='a_0_1', enCap=['a dog'], chCap=['c'])])
MSRVTT = {
    'MSRVTT_train.9k.csv': b'video_id\nvideo0\n',
    'train_val_videodatainfo.json': SENTENCES,
    'test_videodatainfo.json': SENTENCES,
}

READERS = {
    reader.name: reader
    for reader in (
        Reader(
            'ours', 'a.json', OURS, lambda f: read_annotations(f / 'a.json')
        ),
        Reader(
            *('mmaction2', 'a.json', b'{"a.mp4": ["a dog", "a cat"]}'),
            lambda f: read_annotations(f / 'a.json'),
        ),
        Reader(
            *('table csv', 'a.csv', b'file,caption,start\na.mp4,"a, b",2\n'),
            lambda f: read_pairs(f / 'a.csv'),
        ),
        Reader(
            *('table jsonl', 'a.jsonl', b'{"file":"a.mp4","caption":"a"}\n'),
            lambda f: read_pairs(f / 'a.jsonl'),
        ),
        Reader(
            *('msrvtt json', 'test_videodatainfo.json', SENTENCES),
            *(read_msrvtt, MSRVTT),
        ),
        Reader(
            *('msrvtt list', 'MSRVTT_train.9k.csv'),
            MSRVTT['MSRVTT_train.9k.csv'],
            *(read_msrvtt, MSRVTT),
        ),
        Reader(
            *('msrvtt zip', 'test_videodatainfo.json.zip'),
            _zipped('test_videodatainfo.json', SENTENCES),
            *(read_msrvtt, MSRVTT),
        ),
        Reader(
            *('msrvtt 1k-A', 'MSRVTT_JSFUSION_test.csv'),
            b'key,vid_key,video_id,sentence\nret0,msr0,video0,a dog\n',
            read_msrvtt,
        ),
        Reader(
            *('msvd', 'captions_msvd.json', b'{"a_0_1": ["a dog"]}'),
            *(read_msvd, _lists(b'a_0_1\n')),
        ),
        Reader(
            *('didemo json', 'test_data.json', MOMENTS, read_didemo),
            {
                **_lists(b'a.mp4\n'),
                'train_data.json': MOMENTS,
                'val_data.json': MOMENTS,
            },
        ),
        Reader(
            *('didemo csv', 'didemo_test_label.csv'),
            b'video_path,text\nx/a.mp4,a dog\n',
            read_didemo,
            {
                **_lists(b'a.mp4\n'),
                'train_data.json': MOMENTS,
                'val_data.json': MOMENTS,
            },
        ),
        Reader(
            *('activitynet', 'val_1.json', STORY, read_activitynet),
            {'train.json': STORY},
        ),
        Reader(
            *('lsmdc', LSMDC_FILES['test'], LSMDC, read_lsmdc),
            {name: LSMDC for name in LSMDC_FILES.values()},
        ),
        Reader(
            *('vatex', 'vatex_training_v1.0.json', ENGLISH),
            *(read_vatex, _lists(b'a_0_1\n')),
        ),
        Reader(
            *('vatex list', 'test_list.txt', b'a_0_1\n', read_vatex),
            {**_lists(b'a_0_1\n'), 'vatex_training_v1.0.json': ENGLISH},
        ),
        Reader(
            *('scores npy', 'a.npy', _vector(np.eye(2))),
            lambda f: load_table(f / 'a.npy'),
        ),
        Reader(
            *('features npz', 'a.npz'),
            _array(text=np.eye(2), video=np.eye(2), video_ids=np.arange(2)),
            lambda f: load_table(f / 'a.npz'),
        ),
        Reader(
            *('match npy', 'm.npy', _vector(np.arange(2))),
            lambda f: read_match(f / 'm.npy', 2, 2),
        ),
        Reader(
            *('bank npy', 'b.npy', _vector(np.eye(2))),
            lambda f: load_bank(f / 'b.npy', 2),
        ),
    )
}
