"""Layouts of captions that others write, and what is recognised of them."""

import io
import json
import tarfile
import unicodedata

import pytest

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.caption_formats import (
    CaptionSource,
    VideoNames,
    group_by_video,
    read_captions,
    recognize_format,
)
from mmtvr.errors import SetupError


@pytest.fixture
def videos(tmp_path):
    """Folder of files that end like videos do."""

    def make(*names):
        folder = tmp_path / 'videos'
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
        return folder

    return make


@pytest.fixture
def read(tmp_path):
    """Function from a file and its content to what is read of it."""

    def run(name, content, folder=None, **options):
        path = tmp_path / name
        path.write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return read_captions(path, folder, into=tmp_path / 'into', **options)

    return run


def pairs(found):
    return [(row.file, row.caption) for row in found.rows]


GERMAN = [
    ('Übung 1.mp4', 'ein Käfer, der läuft'),
    ('b.mp4', 'größer'),
]


@pytest.mark.parametrize('delimiter', [',', ';', '\t', '|'])
@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'cp1252']
)
def test_delimiter_and_encoding_are_recognised(read, delimiter, encoding):
    rows = [('File_Name', ' CAPTION '), *GERMAN]
    lines = [
        delimiter.join(f'"{cell}"' for cell in row) + '\r\n' for row in rows
    ]
    found = read('t.csv', ''.join(lines).encode(encoding))
    assert pairs(found) == GERMAN
    assert any('cp1252' in note for note in found.notes) == (
        encoding == 'cp1252'
    )


def test_a_named_encoding_is_used(read):
    content = 'file;caption\na.mp4;žluťoučký kůň\n'.encode('cp1250')
    found = read('t.csv', content, encoding='cp1250')
    assert pairs(found) == [('a.mp4', 'žluťoučký kůň')]
    for encoding, why in (('ascii', 'line 2 .*0x9e'), ('utf-99', 'utf-99')):
        with pytest.raises(SetupError, match=why):
            read('t.csv', content, encoding=encoding)


def test_what_excel_writes_first_and_last_is_no_row(read):
    found = read('t.csv', 'sep=;\r\nfile;caption\r\na.mp4;x\r\n;\r\n')
    assert pairs(found) == [('a.mp4', 'x')]
    assert found.rows[0].where.endswith('line 3')


def test_columns_are_recognised_by_what_they_hold(read, videos):
    folder = videos('a.mp4', 'b.mp4')
    content = 'Nr;Clip;Was\n1;a;ein roter Kreis\n2;b;ein blauer Stern\n'
    found = read('t.csv', content, folder)
    assert pairs(found) == [
        ('a', 'ein roter Kreis'),
        ('b', 'ein blauer Stern'),
    ]
    assert found.guessed
    assert "file 'Clip', caption 'Was'; not used: 'Nr'" in found.notes[-1]
    # Names that say it are right where the content does not contradict.
    found = read('t.csv', 'id,text,note\na,x,y z\n', folder)
    assert (pairs(found), found.guessed) == ([('a', 'x')], False)


def test_a_table_without_a_header_is_read(read, videos):
    folder = videos('a.mp4')
    found = read('t.tsv', 'a.mp4\ta red circle\n', folder)
    assert pairs(found) == [('a.mp4', 'a red circle')]


def test_columns_can_be_named_or_numbered(read):
    content = 'p,q,r\na.mp4,one two,three four\n'
    found = read('t.csv', content, columns=dict(file='1', caption='R'))
    assert pairs(found) == [('a.mp4', 'three four')]
    for columns, why in (
        ({'file': '1'}, r'which column holds the captions.*caption=NAME'),
        ({'file': 'x', 'caption': 'q'}, "no column 'x'"),
    ):
        with pytest.raises(SetupError, match=why):
            read('t.csv', content, columns=columns)


def test_one_column_is_refused_with_what_was_expected(read):
    with pytest.raises(SetupError, match='has one column'):
        read('t.csv', 'file\na.mp4\n')


def test_spans_are_seconds_clocks_or_have_a_decimal_comma(read):
    content = (
        'file;caption;start;end\n'
        'a.mp4;x;1,5;00:00:03,25\na.mp4;y;1:02:03;\na.mp4;z;5;2\n'
    )
    found = read('t.csv', content)
    assert [(row.start, row.end) for row in found.rows] == [
        (1.5, 3.25),
        (3723.0, None),
    ]
    assert found.left_out[0].kind == 'no valid span'


def test_every_row_that_cannot_be_used_is_kept_with_its_reason(read):
    content = 'file,caption\na.mp4,x\nb.mp4,\n,y\nc.mp4,...\nd.mp4,q,r\n'
    found = read('t.csv', content)
    assert pairs(found) == [('a.mp4', 'x')]
    places = sorted(
        (int(each.where.split()[-1]), each.kind) for each in found.left_out
    )
    assert places == [
        (3, 'no caption'),
        (4, 'no file'),
        (5, 'no caption'),
        (6, 'broken row'),
    ]


def test_jsonl_and_json_lists_are_tables_with_lists_of_captions(read):
    rows = [
        {'video': 'a.mp4', 'captions': ['x', 'y'], 'split': 'validation'},
        {'video': 'b.mp4', 'captions': 'z', 'split': 'train'},
    ]
    for name, content in (
        ('t.json', json.dumps(rows)),
        ('t.jsonl', '\n'.join(map(json.dumps, rows))),
    ):
        found = read(name, content)
        assert group_by_video(found.rows) == {
            'val': [VideoCaptions('a.mp4', ('x', 'y'))],
            'train': [VideoCaptions('b.mp4', ('z',))],
        }


def test_webvid_is_recognised_and_found_with_and_without_folders(read, videos):
    content = (
        'videoid,contentUrl,duration,page_dir,name\n'
        '12,http://x/12.mp4,PT1S,000001_000050,A dog runs\n'
    )
    for file in ('000001_000050/12.mp4', '12.mp4'):
        folder = videos(file)
        found = read('results_2M_val.csv', content, folder)
        assert found.format == 'webvid'
        assert found.rows[0].caption == 'A dog runs'
        assert VideoNames(folder).find(found.rows[0].file)[0] == file
        (folder / file).unlink()


def test_msrvtt_json_has_splits_but_no_spans(read):
    content = {
        'videos': [
            {'video_id': 'video0', 'split': 'validate', 'start time': 137.7}
        ],
        'sentences': [
            {'sen_id': 0, 'video_id': 'video0', 'caption': 'a car'},
            {'sen_id': 1, 'video_id': 'video0', 'caption': ''},
        ],
    }
    found = read('videodatainfo.json', json.dumps(content))
    assert found.format == 'msrvtt'
    assert group_by_video(found.rows) == {
        'val': [VideoCaptions('video0', ('a car',))]
    }
    assert len(found.left_out) == 1


def test_json_of_mmaction2_and_our_own_is_read(read):
    ours = {'videos': [{'file': 'a.mp4', 'captions': ['x'], 'end': 2.0}]}
    for content, end in (({'a.mp4': ['x']}, None), (ours, 2.0)):
        found = read('t.json', json.dumps(content))
        assert found.format == 'mmaction2'
        assert group_by_video(found.rows) == {
            '': [VideoCaptions('a.mp4', ('x',), None, end)]
        }


def write_shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def test_shards_of_webdataset_are_unpacked_once(tmp_path):
    folder, into = tmp_path / 'shards', tmp_path / 'into'
    write_shard(
        folder / 'train/00.tar',
        {
            '000.mp4': b'film',
            '000.txt': b'a dog\n',
            '001.json': b'{"caption": "a cat"}',
            '001.v2.mp4': b'other',
            '002.txt': b'nothing',
        },
    )
    # The same names and sizes in another folder.
    write_shard(
        folder / 'test/00.tar', {'000.mp4': b'last', '000.txt': b'a fox'}
    )
    before = None
    for _ in range(2):
        found = read_captions(folder, into=into)
        assert found.format == 'webdataset'
        assert [(row.file, row.caption, row.split) for row in found.rows] == [
            ('test/00/000.mp4', 'a fox', 'test'),
            ('train/00/000.mp4', 'a dog', 'train'),
            ('train/00/001.mp4', 'a cat', 'train'),
        ]
        assert [each.kind for each in found.left_out] == ['no video']
        times = [path.stat().st_mtime_ns for path in into.rglob('*.mp4')]
        assert times == (before or times)
        before = times
    contents = [(found.videos / row.file).read_bytes() for row in found.rows]
    assert contents == [b'last', b'film', b'other']


def test_a_shard_leads_to_no_file_outside(tmp_path):
    write_shard(
        tmp_path / 'x.tar', {'../../evil.mp4': b'x', '../../evil.txt': b'y'}
    )
    with pytest.raises(SetupError, match=r'evil\.mp4'):
        read_captions(tmp_path / 'x.tar', into=tmp_path / 'a/b/into')
    assert not list(tmp_path.rglob('evil.mp4'))
    (tmp_path / 'y.tar').write_bytes(b'no archive')
    with pytest.raises(SetupError, match=r'y\.tar cannot be read'):
        read_captions(tmp_path / 'y.tar', into=tmp_path / 'into')


def test_a_folder_of_hugging_face_has_its_splits(videos, tmp_path):
    folder = videos('train/a.mp4', 'test/sub/b.mp4')
    (folder / 'train/metadata.csv').write_text('file_name,text\na.mp4,x\n')
    row = {'file_name': 'sub/b.mp4', 'text': 'y'}
    (folder / 'test/metadata.jsonl').write_text(json.dumps(row))
    found = read_captions(folder, into=tmp_path / 'into')
    assert (found.format, found.videos) == ('huggingface', folder)
    assert group_by_video(found.rows) == {
        'train': [VideoCaptions('train/a.mp4', ('x',))],
        'test': [VideoCaptions('test/sub/b.mp4', ('y',))],
    }


@pytest.mark.parametrize('kind', ['parquet', 'save_to_disk'])
def test_videos_in_parquet_and_arrow_are_unpacked(tmp_path, kind):
    pa = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    table = pa.table(
        {
            'video': [
                {'bytes': b'film', 'path': 'x/a.mp4'},
                {'bytes': b'last', 'path': 'y/a.mp4'},
                {'bytes': b'other', 'path': None},
            ],
            'caption': ['a dog', 'a fox', 'a cat'],
        }
    )
    folder = tmp_path / 'set'
    (folder / 'train').mkdir(parents=True)
    if kind == 'parquet':
        parquet.write_table(table, folder / 'train-00000-of-00001.parquet')
    else:
        (folder / 'dataset_dict.json').write_text('{"splits": ["train"]}')
        path = folder / 'train/data-00000-of-00001.arrow'
        with (
            pa.OSFile(str(path), 'wb') as file,
            pa.ipc.new_stream(file, table.schema) as writer,
        ):
            writer.write_table(table)
    found = read_captions(folder, into=tmp_path / 'into')
    assert found.format == 'huggingface'
    assert [(row.caption, row.split) for row in found.rows] == [
        ('a dog', 'train'),
        ('a fox', 'train'),
        ('a cat', 'train'),
    ]
    contents = [(found.videos / row.file).read_bytes() for row in found.rows]
    assert contents == [b'film', b'last', b'other']


def test_text_files_beside_videos_hold_a_caption_a_line(videos, tmp_path):
    folder = videos('a.mp4', 'sub/b.mp4', 'c.mp4')
    (folder / 'a.txt').write_bytes(
        'ein Käfer\r\n\r\nnoch einer'.encode('cp1252')
    )
    (folder / 'sub/b.txt').write_text(' \n')
    (folder / 'README.txt').write_text('read me')
    found = read_captions(folder, into=tmp_path / 'into')
    assert found.format == 'txt'
    assert pairs(found) == [('a.mp4', 'ein Käfer'), ('a.mp4', 'noch einer')]
    assert [each.file for each in found.left_out] == ['sub/b.mp4']
    assert '1 videos have no .txt file' in found.notes[-1]


SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Guten</i> Tag,
wie geht's?

2
00:00:03,000 --> 00:00:03,000
nichts
"""
VTT = """WEBVTT

00:01.000 --> 00:02.500
Hello
"""


def test_subtitles_are_captions_of_their_clips(videos, tmp_path):
    pytest.importorskip('pysubs2')
    folder = videos('a.mp4', 'b.mp4')
    (folder / 'a.de.srt').write_text(SRT)
    (folder / 'a.en.vtt').write_text(VTT)
    (folder / 'b.srt').write_text('no subtitles')
    found = read_captions(folder, into=tmp_path / 'into')
    assert found.format == 'subtitles'
    assert [(r.caption, r.start, r.end) for r in found.rows] == [
        ("Guten Tag, wie geht's?", 1.0, 2.5),
        ('Hello', 1.0, 2.5),
    ]
    assert [each.kind for each in found.left_out] == [
        'no valid span',
        'unreadable subtitles',
    ]
    assert any('--language' in note for note in found.notes)
    german = read_captions(folder, into=tmp_path / 'into', language='DE')
    assert len(german.rows) == 1


def test_what_is_no_known_format_or_several_is_refused(videos, tmp_path):
    folder = videos('a.mp4')
    with pytest.raises(SetupError, match=r'mmtvr index --encoder NAME'):
        recognize_format(folder)
    (folder / 'a.txt').write_text('x')
    (folder / 'a.srt').write_text(SRT)
    with pytest.raises(SetupError, match='may be txt or subtitles'):
        recognize_format(folder)
    with pytest.raises(SetupError, match='there is no file or folder'):
        recognize_format(tmp_path / 'nothing')


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('a.mp4', 'x/a.mp4'),
        ('./x/a.mp4', 'x/a.mp4'),
        ('C:\\films\\x\\A.MP4', 'x/a.mp4'),
        ('/mnt/old/x/a.mp4', 'x/a.mp4'),
        ('a', 'x/a.mp4'),
        (unicodedata.normalize('NFC', 'übung.mp4'), None),
        ('z/a.mp4', None),
        ('b.mp4', None),
        ('none.mp4', None),
    ],
)
def test_videos_are_found_by_what_others_call_them(videos, name, file):
    on_mac = unicodedata.normalize('NFD', 'übung.mp4')
    folder = videos('x/a.mp4', 'x/b.mp4', 'y/b.mp4', on_mac)
    found, why = VideoNames(folder).find(name)
    if name.endswith('bung.mp4'):
        file = on_mac
    assert found == file
    assert bool(why) == (file is None)


def test_names_that_differ_in_case_alone_are_kept_apart(videos):
    names = VideoNames(videos('a.mp4', 'A.mp4'))
    assert names.find('A.mp4')[0] == 'A.mp4'
    assert names.find('a')[0] is None


def test_a_source_counts_each_caption_of_a_list():
    found = CaptionSource('table')
    found.add('here', 'a.mp4', ['x', None, 'y'])
    assert [row.caption for row in found.rows] == ['x', 'y']
    assert len(found.left_out) == 1
