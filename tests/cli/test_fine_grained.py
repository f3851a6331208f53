import json

from mmtvr.cli.fine_grained import write_set
from mmtvr.evaluation.fine_grained import read_fine_grained


def test_set_of_an_annotation_file_is_written_and_shown(tmp_path, capsys):
    annotations = tmp_path / 'test.json'
    captions = {
        'a.mp4': ['a tall man is singing in a park'],
        'b.mp4': ['two dogs are running', 'a red car drives'],
    }
    annotations.write_text(json.dumps(captions))
    output = tmp_path / 'sets' / 'test.json'
    write_set(annotations, output, sheet=20)
    found = read_fine_grained(output)
    assert found.videos == list(captions)
    said = {text for texts in captions.values() for text in texts}
    for record in [*found.partial, *found.twins]:
        assert found.texts[record['text']] in said
    printed = capsys.readouterr().out
    assert 'partial: 2 adjective, 1 phrase' in printed
    assert '1 count' in printed
    sheet = printed[printed.index('twins/') :]
    for record in found.twins:
        assert found.texts[record['twin']] in sheet
