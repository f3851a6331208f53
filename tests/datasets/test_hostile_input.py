"""Whatever bytes a file holds: records, or one error with the file's name."""

import json
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.benchmark_long_captions import main as benchmark
from benchmarks.faults import fuzz_annotations
from benchmarks.faults.fuzz_annotations import mutate, try_input
from benchmarks.faults.fuzzed_readers import READERS
from mmtvr.cli.prepare import prepare
from mmtvr.datasets import input_files
from mmtvr.datasets.annotations import VideoCaptions, read_annotations
from mmtvr.datasets.input_files import read_json, read_lines, read_table
from mmtvr.datasets.preparation import read_pairs
from mmtvr.errors import SetupError

each_reader = pytest.mark.parametrize('reader', READERS.values(), ids=READERS)
OUTCOMES = ('read', 'refused')


@each_reader
def test_the_valid_file_is_read(reader, tmp_path):
    assert try_input(reader, tmp_path, reader.seed) == 'read'


@each_reader
def test_changed_files_are_read_or_refused_by_name(reader, tmp_path):
    draw = random.Random(reader.name)
    for _ in range(40):
        data = mutate(reader.seed, draw)
        assert try_input(reader, tmp_path, data) in OUTCOMES, data[:200]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(list(READERS.values())), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(tmp_path, reader, data):
    folder = tmp_path / reader.name
    folder.mkdir(exist_ok=True)
    assert try_input(reader, folder, data) in OUTCOMES


values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
records = st.fixed_dictionaries(
    {'file': values, 'captions': st.lists(values, max_size=3) | values},
    optional={'start': values, 'end': values},
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(records, max_size=3))
def test_any_records_are_read_or_refused_by_name(tmp_path, content):
    data = json.dumps({'videos': content}).encode()
    assert try_input(READERS['ours'], tmp_path, data) in OUTCOMES


def write(path, content):
    text = json.dumps(content, ensure_ascii=True)
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize(
    ('caption', 'finding'),
    [
        ('?!', 'holds no word'),
        ('\u200b\u202e', 'holds no word'),
        ('\x00', 'holds no word'),
        ('a \ud83d dog', 'half a character'),
    ],
)
def test_captions_that_say_nothing_are_refused_by_name(
    tmp_path, caption, finding
):
    path = write(tmp_path / 'train.json', {'a.mp4': ['a dog', caption]})
    with pytest.raises(SetupError, match=finding) as error:
        read_annotations(path)
    assert (
        "train.json is not of the expected layout: caption 1 of 'a.mp4'"
        in (str(error.value))
    )


@pytest.mark.parametrize(
    'caption',
    [
        'שלום עולם',
        '😀',
        '日本',
        'a\x00b',
        'a\u202eb',
        'dog ' * 10_000,
        '7',
        'Ⅷ',
    ],
)
def test_captions_in_any_writing_are_kept_as_they_are(tmp_path, caption):
    path = write(tmp_path / 'train.json', {'a.mp4': [caption]})
    assert read_annotations(path)[0].captions == (caption,)


@pytest.mark.parametrize(
    'name', ['a\x00b', 'a\nb', 'a\x1b[2Jb', '\ud800', ' ']
)
def test_file_names_that_no_disk_or_terminal_should_see(tmp_path, name):
    path = write(tmp_path / 'train.json', {name: ['a dog']})
    with pytest.raises(SetupError, match='name') as error:
        read_annotations(path)
    assert '\x1b' not in str(error.value)


@pytest.mark.parametrize(
    'value', ['1e400', 'NaN', '-Infinity', '9' * 400, 'true', '"1"x', '[]']
)
def test_times_that_are_no_seconds_are_refused_by_name(tmp_path, value):
    path = tmp_path / 'train.json'
    path.write_text(
        f'{{"videos": [{{"file": "a", "captions": ["b"], "end": {value}}}]}}'
    )
    with pytest.raises(SetupError, match=r'train.json'):
        read_annotations(path)


def test_one_clip_twice_is_refused_with_both_places(tmp_path):
    clip = {'file': 'a.mp4', 'captions': ['b'], 'start': 1}
    path = write(tmp_path / 'a.json', {'videos': [clip, {**clip, 'start': 2}]})
    assert len(read_annotations(path)) == 2
    path = write(tmp_path / 'a.json', {'videos': [clip, clip]})
    with pytest.raises(SetupError, match='videos 0 and 1 are the same clip'):
        read_annotations(path)


def test_a_byte_order_mark_is_left_out_and_utf16_named(tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(b'\xef\xbb\xbf{"a.mp4": ["b"]}')
    assert read_annotations(path) == [VideoCaptions('a.mp4', ('b',))]
    path.write_bytes('{"a.mp4": ["b"]}'.encode('utf-16'))
    with pytest.raises(SetupError, match=r'a.json is in UTF-16'):
        read_annotations(path)


READ = [
    pytest.param(read_annotations, id='annotations'),
    pytest.param(read_json, id='json'),
    pytest.param(read_lines, id='lines'),
    pytest.param(lambda path: read_table(path, 'file'), id='table'),
]


@pytest.mark.parametrize('read', READ)
def test_two_gigabytes_are_refused_before_they_are_read(
    tmp_path, read, monkeypatch
):
    path = tmp_path / 'huge.json'
    with path.open('wb') as file:
        file.truncate(2 * 2**30)
    monkeypatch.setattr('builtins.open', None)
    with pytest.raises(SetupError, match=r'huge.json has 2,048 MiB') as error:
        read(path)
    assert input_files.LIMIT_VARIABLE in str(error.value)


def test_the_limit_can_be_moved(tmp_path, monkeypatch):
    path = write(tmp_path / 'a.json', {'a.mp4': ['b ' * 2**20]})
    monkeypatch.setenv(input_files.LIMIT_VARIABLE, '1')
    with pytest.raises(SetupError, match='read up to 1 MiB'):
        read_annotations(path)
    monkeypatch.setenv(input_files.LIMIT_VARIABLE, '3')
    assert len(read_annotations(path)) == 1
    monkeypatch.setenv(input_files.LIMIT_VARIABLE, 'much')
    with pytest.raises(SetupError, match="'much', expected a number of MiB"):
        read_annotations(path)


@pytest.mark.parametrize('read', READ)
def test_what_is_no_file_is_refused_without_waiting(tmp_path, read):
    os.mkfifo(tmp_path / 'pipe')
    (tmp_path / 'zero').symlink_to('/dev/zero')
    (tmp_path / 'broken').symlink_to(tmp_path / 'gone')
    for name, finding in (
        ('', 'is a folder'),
        ('pipe', 'is a pipe'),
        ('zero', 'is a device'),
        ('broken', 'No such file'),
    ):
        with pytest.raises(SetupError, match=finding):
            read(tmp_path / name)


def test_a_table_names_the_line_that_is_not_whole(tmp_path):
    path = tmp_path / 'own.csv'
    for content, finding in (
        (
            'file,caption\na.mp4,"open\nb.mp4,x\n',
            'no CSV after line 1',
        ),
        ('file,caption\na.mp4\n', 'line 2: not as many fields'),
        ('file,caption\na.mp4,x,y\n', 'line 2: not as many fields'),
        ('file,caption,file\na,b,c\n', 'column file twice'),
        ('file,caption\n', 'holds no row'),
        ('file,caption\na.mp4,...\n', 'line 2: the caption is .* no word'),
    ):
        path.write_text(content)
        with pytest.raises(SetupError, match=finding):
            read_pairs(path)


def test_lines_end_at_line_feeds_alone(tmp_path):
    path = tmp_path / 'own.jsonl'
    row = {'file': 'a.mp4', 'caption': 'one\u2028two\x85three'}
    path.write_bytes(json.dumps(row, ensure_ascii=False).encode() + b'\r\n')
    assert read_pairs(path)[0].captions == (row['caption'],)


def test_preparing_a_split_without_any_word_is_one_error(tmp_path):
    videos = [VideoCaptions('a.mp4', ('...', ' '))]
    with pytest.raises(SetupError, match='own, test: none of 1 videos'):
        prepare('own', {'test': videos}, tmp_path)


def test_the_fuzzer_counts_and_keeps_what_is_neither(
    tmp_path, monkeypatch, capsys
):
    command = ['--seconds', '0.2', '--reader', 'ours', '--keep', str(tmp_path)]
    assert fuzz_annotations.main(command) == 0
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(
        fuzz_annotations, 'try_input', lambda *_: 'KeyError: 3'
    )
    assert fuzz_annotations.main(command) == 1
    assert (tmp_path / 'fuzzed_ours.bin').is_file()
    assert 'KeyError: 3' in capsys.readouterr().out


def test_the_benchmark_of_long_captions_runs(capsys):
    benchmark(['--rounds', '1', '--most', '80'])
    assert 'tag key words' in capsys.readouterr().out


@pytest.mark.parametrize(
    'text', ['video_id,sentence\na,b\n', 'one caption a line\nand more\n']
)
def test_a_table_in_place_of_an_annotation_file_is_recognised(tmp_path, text):
    path = tmp_path / 'MSRVTT_JSFUSION_test.csv'
    path.write_text(text)
    with pytest.raises(
        SetupError, match=r'as JSON.*mmtvr prepare table'
    ) as error:
        read_annotations(path)
    assert 'Expecting value' not in str(error.value)
    assert ('CSV' in str(error.value)) == (',' in text)


def test_rows_of_spreadsheets_keep_their_lines_and_empty_ones_go(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text('file,caption\n\na.mp4,a dog\n\n\nb.mp4,"a\ncat"\n,\n,\n')
    rows = read_table(path, 'file', 'caption')
    assert [(row['file'], row.line) for row in rows] == [
        ('a.mp4', 3),
        ('b.mp4', 7),
    ]
    path.write_text('file,caption\n\n\na.mp4\n')
    with pytest.raises(SetupError, match='line 4 has not as many'):
        read_table(path, 'file')


@pytest.mark.parametrize(
    ('delimiter', 'name'), [(';', 'semicolons'), ('\t', 'tabs')]
)
def test_another_delimiter_is_named(tmp_path, delimiter, name):
    path = tmp_path / 'a.csv'
    path.write_text(f'file{delimiter}caption\na.mp4{delimiter}a dog\n')
    with pytest.raises(SetupError, match=f'separated by {name}'):
        read_table(path, 'file', 'caption')
