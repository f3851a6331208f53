"""verify.py: what is there, what is missing, what cannot be read."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from mmtvr.cli.verify import main_benchmark
from mmtvr.datasets.preparation import KNOWN_COUNTS, Count
from mmtvr.datasets.verification import collect_benchmark, verify


@pytest.fixture
def folder(tiny_videos, tmp_path):
    """Five good videos and, in the annotations, nothing else."""
    root = tmp_path / 'msrvtt'
    shutil.copytree(tiny_videos, root)
    return root


def read_report(path):
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def add_videos(folder, split, **captions):
    path = folder / f'{split}.json'
    content = json.loads(path.read_text())
    content |= {f'{name}.mp4': [text] for name, text in captions.items()}
    path.write_text(json.dumps(content))


def run(folder, *flags):
    return main_benchmark('msrvtt', [str(folder), '--workers', '0', *flags])


def test_a_complete_set_is_verified(folder, monkeypatch, capsys):
    known = {'train_9k': Count(5, 15), 'test_JSFUSION': Count(5, 9)}
    monkeypatch.setitem(KNOWN_COUNTS, 'msrvtt', known)
    assert run(folder) == 0
    printed = capsys.readouterr().out
    assert '5 ok' in printed
    assert '15 ok' in printed
    assert '100.00 %' in printed
    assert read_report(folder / 'video_problems.csv') == []


def test_other_counts_than_known_are_reported(folder, capsys):
    assert run(folder) == 1
    assert '5 not 9,000' in capsys.readouterr().out


def test_missing_and_unreadable_videos_are_listed(folder, capsys):
    (folder / 'videos/broken.mp4').write_bytes(b'no video' * 100)
    (folder / 'videos/hollow.mp4').touch()
    add_videos(folder, 'train_9k', broken='x', gone='y')
    add_videos(folder, 'test_JSFUSION', gone='z', hollow='w')
    report = folder / 'elsewhere.csv'
    assert run(folder, '--report', str(report)) == 1
    rows = {row['file']: row for row in read_report(report)}
    assert set(rows) == {'broken.mp4', 'gone.mp4', 'hollow.mp4'}
    assert rows['gone.mp4']['problem'] == 'missing'
    assert rows['gone.mp4']['splits'] == 'test_JSFUSION train_9k'
    assert rows['hollow.mp4']['problem'] == 'the file is empty'
    assert rows['broken.mp4']['problem'] not in ('', 'missing', 'empty')
    assert '3 video files have problems' in capsys.readouterr().out


def test_captions_of_several_videos_lower_the_ceiling(folder, capsys):
    shutil.copy(folder / 'videos/video0.mp4', folder / 'videos/twin.mp4')
    add_videos(folder, 'test_JSFUSION', twin='a dog runs over the grass')
    run(folder)
    assert '90.00 %' in capsys.readouterr().out


def test_a_folder_without_annotations_is_one_message(tmp_path, capsys):
    assert run(tmp_path) == 1
    assert 'prepare.py' in capsys.readouterr().err


def find_problems(folder, names, **options):
    """What is said of each file that an annotation names."""
    content = {name: ['a dog'] for name in names}
    (folder / 'all.json').write_text(json.dumps(content))
    found = verify(
        collect_benchmark(folder, folder), thorough=False, **options
    )
    (folder / 'all.json').unlink()
    return {Path(path).name: problem for path, (problem,) in found.items()}


def test_workers_say_what_one_process_says(folder):
    (folder / 'videos/broken.mp4').write_bytes(b'no video' * 100)
    names = [path.name for path in (folder / 'videos').iterdir()]
    names.append('gone.mp4')
    alone = find_problems(folder / 'videos', names, workers=1)
    assert set(alone) == {'broken.mp4', 'gone.mp4'}
    assert find_problems(folder / 'videos', names, workers=2) == alone


@pytest.mark.shared
def test_the_hostile_clips_that_hold_nothing_are_found(shared_dir, tmp_path):
    stress = shared_dir / 'clips/stress'
    expected = json.loads((stress / 'expected.json').read_text())
    hollow = [
        name
        for name, frames in expected.items()
        if frames == [] and (stress / name).is_file()
    ]
    assert hollow
    for name in hollow:
        shutil.copy(stress / name, tmp_path)
    assert set(find_problems(tmp_path, hollow)) == set(hollow)
