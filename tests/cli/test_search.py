"""How ``mmtvr search`` and ``mmtvr index`` are asked, and answer."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmtvr.cli import index as index_command
from mmtvr.cli.command import note_after_a_while
from mmtvr.cli.search import describe, find_captions, parse_args
from mmtvr.search.moments import Moment
from mmtvr.search.query import SearchResult, WordMoment

ROOT = Path(__file__).resolve().parents[2]


def test_texts_and_videos_may_stand_behind_options():
    args = parse_args(['INDEX', '--top-k', '3', 'a dog', '--json', 'a cat'])
    assert (args.index, args.top_k) == ('INDEX', 3)
    assert args.texts == ['a dog', 'a cat']
    assert parse_args(['INDEX', '--', '-a dog']).texts == ['-a dog']
    words = 'CONFIG --workers 4 ONE TWO --into INDEX'
    args = index_command.parse_args(words.split())
    assert (args.config, args.videos) == ('CONFIG', ['ONE', 'TWO'])
    words = '--into INDEX --remove ONE TWO'
    args = index_command.parse_args(words.split())
    assert (args.remove, args.videos) == (['ONE', 'TWO'], [])


def test_a_query_of_a_file_cannot_command_the_terminal():
    (line, _) = describe('a\x1b[2Jb\n  1  1.000  x.mp4', []).splitlines()
    assert line == r"'a\x1b[2Jb\n  1  1.000  x.mp4'"
    assert describe('a dog', []).startswith('a dog\n')


def test_it_is_said_where_probably_nothing_fits():
    best = SearchResult('a.mp4', 0.31, 1, probability=0.04)
    (_, line, listed) = describe('a dog', [best], unfit=0.04).splitlines()
    assert 'nothing fits' in line
    assert '4%' in line
    assert listed.split() == ['1', '0.310', '4%', 'a.mp4']
    (_, line) = describe('a dog', [best]).splitlines()
    assert line.split() == ['1', '0.310', '4%', 'a.mp4']


def test_moments_are_said_with_how_exact_they_are():
    moments = (Moment(3.0, 12.5, 1.2), Moment(70.0, 80.0, 1.1))
    found = SearchResult(
        'clip.mp4', 0.5, 1, 4.0, moments=moments, moment_step=2.5
    )
    assert describe('a dog', [found]).splitlines()[2].strip() == (
        'from 3.0 to 12.5 s, 70.0 to 80.0 s  (frames 2.5 s apart)'
    )


def test_moments_are_those_of_texts(capsys):
    assert parse_args(['INDEX', 'a dog', '--moments']).moments
    with pytest.raises(SystemExit):
        parse_args(['INDEX', '--video', 'clip.mp4', '--moments'])
    assert '--moments goes with texts' in capsys.readouterr().err


def run(*arguments):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_misspelt_index_is_reported_before_anything_heavy_is_imported():
    code = (
        'import sys; from mmtvr.cli import search\n'
        'from mmtvr.errors import SetupError\n'
        'before = {*sys.modules}\n'
        'try: search.search(search.parse_args(["/no/such/index", "a dog"]))\n'
        'except SetupError as error: print(error)\n'
        'heavy = {"torch", "mmcv", "lancedb", "mmtvr.search.encoder"}\n'
        'print(heavy & ({*sys.modules} - before))\n'
    )
    message, heavy = run('-c', code).stdout.splitlines()
    assert message.startswith('there is no index /no/such/index')
    assert heavy == 'set()'


def test_model_of_a_text_imports_neither_transformers_nor_training():
    code = (
        'import sys; from mmtvr.search.encoder import RetrievalEncoder\n'
        'from mmtvr.models.clip_text import build_clip_text\n'
        'from mmtvr.datasets.transforms.text import TokenizeText\n'
        'clip = "mmtvr://moving-shapes-clip"\n'
        'encoder = dict(type="mmtvr.CLIPTextEncoder", clip=clip)\n'
        'head = dict(type="mmtvr.TokenWiseHead", embed_dims=96)\n'
        'model = dict(type="mmtvr.TextVideoRetriever", head=head)\n'
        'tokenize = dict(type="mmtvr.TokenizeText", max_words=24)\n'
        'model["text_encoder"] = encoder\n'
        'assert build_clip_text(model, tokenize)\n'
        'TokenizeText(clip, max_words=24)(dict(text=["a red circle"]))\n'
        'heavy = {"transformers", "huggingface_hub", "mmengine.runner"}\n'
        'heavy |= {"mmengine.model", "mmaction", "torch._dynamo", "scipy"}\n'
        'print(heavy & {*sys.modules})\n'
    )
    assert run('-c', code).stdout.strip() == 'set()'


def test_all_of_a_long_answer_arrives():
    code = (
        'import sys; from mmtvr.cli import main, search\n'
        'search.main = lambda argv: print("x" * 10**6) or 3\n'
        'sys.argv = ["mmtvr", "search"]\n'
        'sys.exit(main.main())\n'
    )
    done = run('-c', code)
    assert (done.returncode, len(done.stdout)) == (3, 10**6 + 1)


@pytest.mark.parametrize('seconds', [0, 0.3])
def test_what_takes_long_is_announced_on_a_terminal(
    seconds, monkeypatch, capsys
):
    monkeypatch.setattr('mmtvr.cli.command.SECONDS_UNTIL_NOTE', 0.1)
    monkeypatch.setattr('sys.stderr.isatty', lambda: True, raising=False)
    with note_after_a_while('opening ...'):
        time.sleep(seconds)
    assert capsys.readouterr().err == ('opening ...\n' if seconds else '')


def test_a_result_shows_when_its_words_are_seen_and_what_it_is(
    tmp_path, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '80')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos/a.mp4').touch()
    captions = ['a bar resting', 'a red circle rising then a bar resting']
    annotation = tmp_path / 'test.json'
    annotation.write_text(json.dumps({'a.mp4': captions}))
    words = [('red', 0.5), ('circle', 0.5), ('bar', 1.5), ('rising', 0.75)]
    result = SearchResult(
        path=str(tmp_path / 'videos/a.mp4'),
        score=0.5,
        rank=1,
        time=0.5,
        words=tuple(WordMoment(w, 1.0, t, 0.9) for w, t in words),
        source=str(annotation),
    )
    found = find_captions([[result]])
    text = describe('a red circle rising', [result], captions=found)
    assert text.splitlines() == [
        'a red circle rising',
        '  1   0.500  videos/a.mp4  at 0.5 s',
        '             0.5 s red circle · 0.8 s rising · 1.5 s bar',
        '             “a red circle rising then a bar resting”',
    ]
    annotation.unlink()
    assert find_captions([[result]]) == {}
