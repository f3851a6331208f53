"""``mmtvr prepare table`` as a command, and what follows it."""

import csv
import json
import os
import sys

import pytest

from mmtvr.cli.main import main
from mmtvr.config import find_config, is_work_folder, load_config
from mmtvr.errors import SetupError


@pytest.fixture
def films(tmp_path, monkeypatch):
    """Twelve files and a table in cp1252 that names them, in a folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'Filme').mkdir()
    rows = ['Datei;Beschreibung']
    for number in range(12):
        name = f'Übung {number}.mp4'
        (tmp_path / 'Filme' / name).write_text(str(number))
        rows.append(f'{name};der Käfer läuft zum {number}. Mal')
    rows += ['fehlt.mp4;nichts', 'Übung 1.mp4;', 'Übung 2.mp4; ']
    text = '\r\n'.join(rows)
    (tmp_path / 'Käfer.csv').write_bytes(text.encode('cp1252'))
    return tmp_path


def read_split(folder, name):
    content = json.loads((folder / f'{name}.json').read_text('utf-8'))
    return {video['file'] for video in content['videos']}


def test_a_table_becomes_a_data_set_with_all_faults_listed(films, capsys):
    command = ['prepare', 'table', 'Käfer.csv', '--videos', 'Filme']
    assert main([*command, '--no-read']) == 0
    out = capsys.readouterr().out
    for part in (
        "cp1252, such as 'Übung'",
        'separated by semicolons',
        "columns: file 'Datei', caption 'Beschreibung'",
        '2 no caption, 1 no such video',
        'Käfer.csv, line 15',
        'Käfer.csv, line 16',
        'differ from one of another video by a word at most',
        '1 videos in val and 1 videos in test',
        'mmtvr train --data',
    ):
        assert part in out, part
    folder = films / 'data/video_retrieval/Käfer'
    sides = [read_split(folder, name) for name in ('train', 'val', 'test')]
    assert [len(side) for side in sides] == [10, 1, 1]
    assert len(set().union(*sides)) == 12
    assert (folder / 'videos').resolve() == films / 'Filme'
    with open(folder / 'left_out.csv', newline='', encoding='utf-8') as file:
        assert len([*csv.DictReader(file)]) == 3
    # Another division would leave val.json of this one behind.
    assert main([*command, '--no-read', '--val', '0']) == 1
    assert 'val.json is of an earlier run' in capsys.readouterr().err
    assert read_split(folder, 'train') == sides[0]


def test_one_split_and_a_link_that_leads_elsewhere(films, capsys):
    command = ['prepare', 'table', 'Käfer.csv', 'out', '--split', 'all']
    assert main([*command, '--videos', 'Filme', '--no-read']) == 0
    assert len(read_split(films / 'out', 'all')) == 12
    (films / 'other').mkdir()
    (films / 'other/Übung 1.mp4').write_text('x')
    assert main([*command, '--videos', 'other', '--no-read']) == 1
    assert 'does not lead to other' in capsys.readouterr().err


def test_without_videos_the_table_is_written_as_it_is(films, capsys):
    assert main(['prepare', 'table', 'Käfer.csv', 'out']) == 0
    assert len(read_split(films / 'out', 'Käfer')) == 13
    assert 'Without --videos' in capsys.readouterr().out


def test_guessed_columns_are_confirmed_on_a_terminal(
    films, capsys, monkeypatch
):
    (films / 'x.csv').write_text('A;B\nÜbung 1.mp4;der Käfer läuft\n')
    command = ['prepare', 'table', 'x.csv', 'out', '--videos', 'Filme']
    monkeypatch.setattr(sys.stdin, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr('builtins.input', lambda _: 'n')
    assert main([*command, '--no-read']) == 1
    assert '--columns file=NAME' in capsys.readouterr().err
    assert not (films / 'out').exists()


def test_videos_that_cannot_be_read_are_left_out(
    tiny_videos, tmp_path, capsys
):
    folder = tmp_path / 'videos'
    folder.mkdir()
    for number in range(4):
        name = f'video{number}.mp4'
        os.link(tiny_videos / 'videos' / name, folder / name)
        (folder / f'video{number}.txt').write_text(f'film {number}')
    (folder / 'broken.mp4').write_text('nothing')
    (folder / 'broken.txt').write_text('a broken film')
    out = tmp_path / 'out'
    assert main(['prepare', 'table', str(folder), str(out)]) == 0
    assert '1 unreadable video' in capsys.readouterr().out
    sides = [read_split(out, name) for name in ('train', 'val', 'test')]
    assert sum(map(len, sides)) == 4


def test_data_of_the_command_line_is_read_by_all_stages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'käfer').mkdir()
    cfg = load_config('dmae_own', data='käfer')
    assert cfg.work_dir == 'work_dirs/dmae_käfer'
    for stage in ('train', 'val', 'test'):
        dataset = cfg[f'{stage}_dataloader'].dataset
        assert (dataset.data_root, dataset.ann_file) == (
            'käfer',
            f'{stage}.json',
        )
    assert load_config('dmae_msvd', data='käfer').work_dir.endswith('msvd')
    with pytest.raises(SetupError, match='no folder of data nowhere'):
        load_config('dmae_own', data='nowhere')


def test_a_recipe_of_own_data_is_a_few_lines(tmp_path):
    lines = [
        f'_base_ = {find_config("tpmcl_own")!r}',
        "model = dict(encoder='mmtvr://moving-shapes-clip')",
        *(
            f"{stage}_dataloader = dict(dataset=dict(data_root='mine'))"
            for stage in ('train', 'val', 'test')
        ),
    ]
    (tmp_path / 'mine.py').write_text('\n'.join(lines))
    cfg = load_config(str(tmp_path / 'mine.py'))
    assert cfg.model.partial_loss.embed_dims == 96
    assert cfg.val_dataloader.dataset.data_root == 'mine'
    report = cfg.test_evaluator[1]
    assert report == dict(type='mmtvr.RetrievalReport')


def test_a_work_folder_stands_for_its_config(tmp_path):
    assert not is_work_folder(str(tmp_path))
    (tmp_path / 'a.py').write_text('')
    assert find_config(str(tmp_path)) == str(tmp_path / 'a.py')
    (tmp_path / 'b.py').write_text('')
    with pytest.raises(SetupError, match=r'holds 2 configs \(a.py, b.py\)'):
        find_config(str(tmp_path))


@pytest.mark.slow
def test_from_a_german_table_to_a_search(tmp_path, monkeypatch, capsys):
    from mmtvr.datasets.annotations import read_annotations
    from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes

    monkeypatch.chdir(tmp_path)
    root = ensure_moving_shapes(tmp_path / 'shapes', 'test', 16, 0)
    rows = ['Datei;Länge;Beschreibung']
    rows += [
        f'{video.file};1,5;"{text} für Käfer"'
        for video in read_annotations(root / 'annotations.json')
        for text in video.captions
    ]
    text = '\r\n'.join(rows)
    (tmp_path / 'Käfer.csv').write_bytes(text.encode('cp1252'))
    videos = str(root / 'videos')
    shipped = 'mmtvr://moving-shapes-clip'
    assert main(['prepare', 'table', 'Käfer.csv', '--videos', videos]) == 0
    options = ['train_cfg.max_epochs=1', f'model.encoder={shipped}']
    for stage in ('train', 'val', 'test'):
        loader = f'{stage}_dataloader'
        options += [f'{loader}.num_workers=0']
        options += [f'{loader}.persistent_workers=False']
    data = 'data/video_retrieval/Käfer'
    assert main(['train', '--data', data, '--cfg-options', *options]) == 0
    run = 'work_dirs/dmae_Käfer'
    capsys.readouterr()
    assert main(['test', run, '--dump', 'scores.npz']) == 0
    assert main(['evaluate', 'scores.npz']) == 0
    out = capsys.readouterr().out
    assert 'each caption a query' in out
    assert 't2v R@1' in out
    for model in ([run], ['--encoder', shipped]):
        assert main(['index', *model, videos, '--into', 'index']) == 0
        assert main(['search', 'index', 'a red circle', '--json']) == 0
        answer = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert len(answer[0]['results']) == 10
        os.rename('index', 'done')
        if model == [run]:
            os.rename('done', 'first')
