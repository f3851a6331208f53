"""How ``mmtvr search`` and ``mmtvr index`` are asked, and answer."""

from mmtvr.cli import index as index_command
from mmtvr.cli.search import describe, parse_args


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
