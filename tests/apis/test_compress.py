"""tools/data/compress.py: whole folders, again and again."""

import csv
import json
import shutil

import pytest
from filelock import FileLock

from mmtvr.apis import compress as module
from mmtvr.apis.compress import main
from mmtvr.apis.video_folder import find_videos
from mmtvr.errors import SetupError
from mmtvr.video.compression import DRAFT


@pytest.fixture
def folder(tiny_videos, tmp_path):
    """Two good videos, a broken one, and a file of another kind."""
    folder = tmp_path / 'videos'
    (folder / 'deep').mkdir(parents=True)
    shutil.copy(tiny_videos / 'videos/video3.mp4', folder / 'a.avi')
    shutil.copy(tiny_videos / 'videos/video4.mp4', folder / 'deep/b c.')
    (folder / 'captions.json').write_text('{}')
    (folder / '.hidden.mp4').touch()
    return folder


@pytest.fixture
def run(folder, tmp_path):
    def run(*extra):
        output = tmp_path / 'out'
        size = ('--short-side', '32')
        main([str(folder), str(output), '--workers', '0', *size, *extra])
        return output

    return run


def names(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob('*')
        if path.is_file()
    )


def test_copies_keep_names_and_sources(run, folder, capsys):
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    output = run()
    copies = [
        '.compressing.lock',
        'a.avi',
        'compressed.jsonl',
        'deep/b c.',
        'not_compressed.csv',
    ]
    assert names(output) == copies
    assert {n: (folder / n).read_bytes() for n in names(folder)} == before
    said = capsys.readouterr().out
    assert '2 videos; 2 other files' in said
    assert 'copies of all, checked' in said


def test_second_run_goes_on_where_the_first_ended(run, monkeypatch, capsys):
    def stop(job, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, 'copy_video', stop)
        with pytest.raises(KeyboardInterrupt):
            run()
    output = run()
    with (output / 'compressed.jsonl').open('a') as file:
        file.write('{"file": "half a li')
    (output / 'a.avi').unlink()
    capsys.readouterr()
    run()
    assert '1 have a copy from before' in capsys.readouterr().out
    assert (output / 'a.avi').is_file()
    monkeypatch.setattr(module, 'copy_video', stop)
    run()


def test_drafts_of_a_killed_command_are_removed(run):
    output = run()
    draft = output / 'deep' / f'x.mp4.123{DRAFT}'
    draft.touch()
    run()
    assert not draft.exists()


def test_one_command_at_a_time(run):
    output = run()
    lock = FileLock(output / '.compressing.lock')
    with lock, pytest.raises(SetupError, match='another command fills'):
        run()


def test_changed_source_is_compressed_again(run, folder, tiny_videos, capsys):
    output = run()
    before = (output / 'a.avi').read_bytes()
    shutil.copy(tiny_videos / 'videos/video0.mp4', folder / 'a.avi')
    run()
    assert (output / 'a.avi').read_bytes() != before


def test_videos_without_a_copy_are_listed(run, folder, tmp_path):
    (folder / 'broken.mp4').write_bytes(b'no video')
    with pytest.raises(SetupError, match='1 of 3 videos have no copy'):
        run()
    with (tmp_path / 'out' / 'not_compressed.csv').open() as file:
        header, (name, problem) = csv.reader(file)
    assert name == 'broken.mp4'
    assert problem.startswith('unreadable: ')
    with pytest.raises(SetupError, match='failed the check'):
        run_with_check(folder, tmp_path / 'strict')
    assert not (tmp_path / 'strict' / 'a.avi').exists()
    assert (folder / 'broken.mp4').read_bytes() == b'no video'


def run_with_check(folder, output):
    strict = ('--min-psnr', '99')
    main([str(folder), str(output), '--workers', '0', *strict])


def test_other_options_need_another_folder(run):
    run()
    with pytest.raises(SetupError, match='name another folder'):
        run('--fps', '1')


@pytest.mark.parametrize('output', ['videos', 'videos/copies', '.'])
def test_folders_in_each_other_are_refused(folder, tmp_path, output):
    with pytest.raises(SetupError, match='lie in each other'):
        main([str(folder), str(tmp_path / output)])


def test_folder_of_someone_else_is_left_alone(run, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a.avi').write_text('precious')
    with pytest.raises(SetupError, match='is not empty'):
        run()
    assert (tmp_path / 'out' / 'a.avi').read_text() == 'precious'


def test_full_disk_ends_the_command(run, monkeypatch):
    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(module, 'compress_video', fail)
    with pytest.raises(SetupError, match='No space left'):
        run()


def test_links_are_followed_once(folder, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'c.mp4').touch()
    (folder / 'link').symlink_to(other)
    (folder / 'loop').symlink_to(folder)
    files, others = find_videos(folder)
    assert files == ['a.avi', 'deep/b c.', 'link/c.mp4']
    assert others == 2


def test_log_says_how_copies_were_made(run):
    log = run() / 'compressed.jsonl'
    head = log.read_text().strip().splitlines()[0]
    expected = dict(fps=3.0, short_side=32, crf=20, min_psnr=28.0)
    assert json.loads(head) == expected
