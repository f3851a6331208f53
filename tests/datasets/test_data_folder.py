"""Annotation files lead to no file outside the folder of the videos."""

import json

import pytest

from mmtvr.datasets.annotations import find_path_escape
from mmtvr.datasets.verification import collect_benchmark, verify
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS


@pytest.fixture
def root(tmp_path):
    """A data root whose videos are a link to another disk."""
    disk = tmp_path / 'disk'
    (disk / 'shots').mkdir(parents=True)
    (tmp_path / 'secret.mp4').write_bytes(b'x')
    (disk / 'a.mp4').write_bytes(b'x')
    (disk / 'shots/b.mp4').write_bytes(b'x')
    (disk / 'inner.mp4').symlink_to(disk / 'a.mp4')
    (disk / 'outer.mp4').symlink_to(tmp_path / 'secret.mp4')
    (disk / 'up').symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/videos').symlink_to(disk, target_is_directory=True)
    return tmp_path / 'data'


def build(root, *files, **options):
    content = {file: ['a dog'] for file in files}
    (root / 'a.json').write_text(json.dumps(content))
    return DATASETS.build(
        dict(
            type='mmtvr.TextVideoDataset',
            data_root=str(root),
            ann_file='a.json',
            **options,
        )
    )


INSIDE = ('a.mp4', 'shots/b.mp4', './a.mp4', 'inner.mp4')
OUTSIDE = {
    '../../secret.mp4': '".."',
    'shots/../../../secret.mp4': '".."',
    '/etc/passwd': 'an absolute path',
    'outer.mp4': 'a link to',
    'up/secret.mp4': 'a link to',
    'C:\\secret.mp4': 'an absolute path',
    'c:secret.mp4': 'an absolute path',
    '\\\\host\\share\\a.mp4': 'an absolute path',
    '..\\secret.mp4': '".."',
}


@pytest.mark.parametrize('file', INSIDE)
def test_files_inside_are_read_through_a_link_of_the_folder(root, file):
    assert len(build(root, file)) == 1
    assert find_path_escape(root / 'videos', file) is None


@pytest.mark.parametrize(('file', 'way'), OUTSIDE.items())
def test_path_escapes_are_refused_with_the_entry(root, file, way):
    with pytest.raises(SetupError, match='leads out of the folder') as error:
        build(root, 'a.mp4', file)
    for words in (repr(file), way, 'a.json', 'allow_outside=True'):
        assert words in str(error.value)


def test_path_escapes_are_taken_when_allowed(root, tmp_path):
    names = ('outer.mp4', '../../secret.mp4', str(tmp_path / 'secret.mp4'))
    # videos is a link, so .. means the folder above the disk.
    names = names[:1] + names[2:] + ('../secret.mp4',)
    assert len(build(root, *names, allow_outside=True)) == 3


def test_a_name_too_long_for_the_disk_is_missing(root):
    with pytest.raises(SetupError, match='1 of 1 videos'):
        build(root, 'a' * 5000 + '.mp4')


def test_checking_files_opens_nothing_outside(root):
    (root / 'test.json').write_text('{"outer.mp4": ["a dog"]}')
    found = verify(collect_benchmark(root, root / 'videos'), thorough=False)
    (((_, what),),) = found.values()
    assert what.startswith('outside the folder: a link')


def test_repeats_and_control_characters_are_counted_and_kept(
    root, monkeypatch
):
    said = []
    monkeypatch.setattr(
        'mmtvr.datasets.text_video.print_log',
        lambda text, _: said.append(text),
    )
    content = {'a.mp4': ['a dog', 'a dog', 'a dog'], 'inner.mp4': ['x\x00y']}
    (root / 'b.json').write_text(json.dumps(content))
    dataset = DATASETS.build(
        dict(
            type='mmtvr.TextVideoDataset',
            data_root=str(root),
            ann_file='b.json',
        )
    )
    assert [dataset[i]['text'] for i in range(4)] == ['a dog'] * 3 + ['x\x00y']
    repeats, marks = said
    assert '2 captions repeat' in repeats
    assert "'a dog' of a.mp4" in repeats
    assert '1 captions hold control characters' in marks
    assert r'x\x00y' in marks
