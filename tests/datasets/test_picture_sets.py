import itertools
import json

import av
import numpy as np
import pytest
from PIL import Image

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.picture_sets import (
    MAX_HASH_DISTANCE,
    base_code,
    group_rows,
    hash_images,
    make_picture_captions,
    name_stem,
    near_duplicates,
    read_captions,
    read_emoji,
    read_exercises,
    select_moving,
    select_twins,
    split_emoji,
    split_exercises,
    split_groups,
    write_clip,
)
from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import check_fine_grained

pytest.importorskip('imagehash', reason="needs the extra 'demo'")
MOVING = ('1f926', '1f926-1f3fe', '1f926-200d-2642-fe0f', '1f600', '1f601')


def test_rows_are_grouped_by_key_and_by_link_through_others():
    groups = group_rows(['a', 'b', 'a', 'c', 'd'], [(2, 3)])
    assert groups.tolist() == [0, 1, 0, 0, 4]


def test_rows_without_links_are_grouped_by_key_alone():
    assert group_rows(['a', 'b', 'a']).tolist() == [0, 1, 0]


def test_near_duplicates_equal_a_double_loop():
    rng = np.random.default_rng(0)
    hashes = rng.random((12, 2, 16)) < 0.5
    hashes[7, 1] = hashes[3, 0] ^ (np.arange(16) < 2)
    expected = [
        (i, j)
        for i in range(12)
        for j in range(i + 1, 12)
        if min((a != b).sum() for a in hashes[i] for b in hashes[j]) <= 2
    ]
    assert (3, 7) in expected
    found = near_duplicates(hashes, 2)
    assert [tuple(pair) for pair in found.tolist()] == expected


def test_folds_part_no_group_and_test_each_row_once():
    groups = np.random.default_rng(0).integers(0, 40, 200)
    folds = split_groups(groups)
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == list(range(200))
    for fold in folds:
        assert len(np.concatenate(fold)) == 200
        sides = [set(groups[rows].tolist()) for rows in fold]
        assert not sides[0] & sides[1]
        assert not sides[2] & (sides[0] | sides[1])
        assert 35 <= len(fold.test) <= 45


@pytest.fixture
def repository(tmp_path):
    rows = []
    rng = np.random.default_rng(0)
    for number, name in enumerate(['Curl', 'Cable Curl', 'Row', *'ABCDEFGH']):
        images = [f'{number}/{picture}.jpg' for picture in (0, 1)]
        rows.append(
            dict(
                id=f'{number}',
                name=name,
                equipment='cable' if number == 1 else None,
                instructions=['Stand.', f'Do {name}.'],
                images=images,
            )
        )
        for image in images:
            path = tmp_path / 'exercises' / image
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((96, 64)).save(path)
    (tmp_path / 'dist').mkdir()
    (tmp_path / 'dist/exercises.json').write_text(json.dumps(rows))
    return tmp_path


def test_captions_are_name_and_equipment_or_instructions(repository):
    plain, cable, *_ = read_exercises(repository)
    assert plain.caption(long=False) == 'Curl'
    assert cable.caption(long=False) == 'Cable Curl with cable'
    assert cable.caption(long=True) == 'Stand. Do Cable Curl.'


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('Barbell Curl', 'Seated One-Arm Dumbbell Curls', True),
        ('Bench Press - With Bands', 'Incline Bench Press (Narrow)', True),
        ('Leg Press', 'Leg Curl', False),
    ],
)
def test_variants_of_an_exercise_have_one_stem(one, other, same):
    assert (name_stem(one) == name_stem(other)) == same


def test_a_clip_shows_the_photographs_in_order(repository, tmp_path):
    exercise = read_exercises(repository)[0]
    write_clip(exercise, tmp_path / 'clip.mp4', size=64)
    with av.open(tmp_path / 'clip.mp4') as container:
        frames = [f.to_ndarray(format='rgb24') for f in container.decode()]
    assert [frame.shape for frame in frames] == [(64, 64, 3)] * 2
    for frame, path in zip(frames, exercise.images, strict=True):
        with Image.open(path) as image:
            middle = np.asarray(image)[:, 16:80].astype(float)
        assert abs(frame - middle).mean() < 8


def test_variants_and_scenes_are_on_one_side(repository):
    exercises = read_exercises(repository)
    hashes = hash_images(exercises)
    hashes[2] = hashes[5]
    splits = split_exercises(exercises, hashes)
    names = {split: {v.file for v in rows} for split, rows in splits.items()}
    for together in (('0.mp4', '1.mp4'), ('2.mp4', '5.mp4')):
        for rows in names.values():
            assert len(rows & set(together)) in (0, 2)


def test_a_missing_photograph_is_named(repository):
    (repository / 'exercises/1/0.jpg').unlink()
    with pytest.raises(SetupError, match=r'1/0\.jpg'):
        read_exercises(repository)


@pytest.mark.slow
@pytest.mark.shared
def test_folds_of_the_real_photographs_leak_nothing(shared_dir):
    exercises = read_exercises(shared_dir / 'exercises')
    assert len(exercises) == 868
    hashes = hash_images(exercises)
    row = {f'{each.id}.mp4': n for n, each in enumerate(exercises)}
    splits = split_exercises(exercises, hashes)
    stems = [name_stem(each.name) for each in exercises]
    for fold in range(5):
        rows = [
            [row[video.file] for video in splits[f'fold{fold}_{split}']]
            for split in ('train', 'val', 'test')
        ]
        for one, other in itertools.combinations(rows, 2):
            assert not {stems[r] for r in one} & {stems[r] for r in other}
            bits = hashes[one][:, :, None, None] != hashes[other]
            assert bits.sum(-1).min() > MAX_HASH_DISTANCE


@pytest.fixture
def folders(tmp_path):
    assets = tmp_path / 'package/assets'
    assets.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for code in (*MOVING, '2755'):
        frames = [
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            for _ in range(1 if code == '2755' else 3)
        ]
        path = assets / f'{code}.webp'
        frames[0].save(path, save_all=True, append_images=frames[1:])
    rows = [
        dict(
            label='person facepalming',
            hexcode='1F926',
            tags=['face', 'palm', 'again'],
            skins=[dict(label='person: dark', hexcode='1F926-1F3FE')],
        ),
        dict(label='grin', hexcode='1F600', tags=['happy']),
    ]
    (tmp_path / 'data/en').mkdir(parents=True)
    (tmp_path / 'data/en/data.json').write_text(json.dumps(rows))
    return tmp_path / 'package', tmp_path / 'data'


@pytest.mark.parametrize(
    ('code', 'base'),
    [
        ('1f926-1f3fe-200d-2642', '1f926'),
        ('1f468-200d-1f33e', '1f9d1-200d-1f33e'),
        ('1f469-1f3fb-200d-1f33e', '1f9d1-200d-1f33e'),
        ('1f600', '1f600'),
    ],
)
def test_tones_and_genders_have_one_base(code, base):
    assert base_code(code) == base


def test_stills_are_left_out_and_one_of_each_base_stands_for_it(folders):
    emoji = read_emoji(folders[0])
    assert len(emoji) == 6
    chosen = select_moving(emoji)
    assert [each.code for each in chosen] == ['1f600', '1f601', '1f926']
    twins = select_twins(emoji, chosen)
    assert [e.code for e in twins] == ['1f926-1f3fe', '1f926-200d-2642']


def test_captions_are_the_name_and_the_tags_it_lacks(folders):
    captions = read_captions(folders[1])
    assert captions['1f600'] == 'grin: happy'
    assert captions['1f926'] == 'person facepalming: again'
    assert captions['1f926-1f3fe'].startswith('person: dark')
    with pytest.raises(SetupError, match=r'xx/data.json'):
        read_captions(folders[1], 'xx')


def test_each_described_emoji_is_tested_once(folders):
    emoji = read_emoji(folders[0])
    captions = {each.code: each.code for each in emoji}
    chosen = [
        each._replace(code=f'1f{n:03x}')
        for n in range(20)
        for each in emoji[:1]
    ]
    captions = {each.code: each.code for each in chosen[1:]}
    splits = split_emoji(chosen, captions)
    tested = [v.file for f in range(5) for v in splits[f'fold{f}_test']]
    assert sorted(tested) == sorted(f'{code}.webp' for code in captions)


def test_a_folder_without_pictures_says_where_they_come_from(tmp_path):
    with pytest.raises(SetupError, match='npm pack'):
        read_emoji(tmp_path)


def test_partial_captions_lack_a_field_and_twins_differ_in_a_word():
    captions = dict(
        a='Hammer Curl with dumbbell',
        b='Hammer Curl with barbell',
        c='Arm Circles',
        d='fox: animal, face',
        e='Lie down. Raise a leg. Hold it.',
        f='Crunches',
        g='Butt-Ups',
    )
    made = make_picture_captions(
        [
            VideoCaptions(f'{name}.mp4', (text,))
            for name, text in captions.items()
        ]
    )
    texts = made['texts']
    partial = [
        (r['kind'], texts[r['text']], texts[r['partial']], r['video'])
        for r in made['partial']
    ]
    assert partial[:2] == [
        ('equipment', captions['a'], 'Hammer Curl', 0),
        ('name', captions['a'], 'dumbbell', 0),
    ]
    assert partial[4:] == [
        ('tags', captions['d'], 'fox', 3),
        ('label', captions['d'], 'animal, face', 3),
        ('sentences', captions['e'], 'Lie down.', 4),
    ]
    # One word alone is no twin of another.
    (twin,) = made['twins']
    both = texts[twin['text']], texts[twin['twin']]
    assert both == (captions['a'], captions['b'])
    assert (twin['video'], twin['twin_video']) == (0, 1)
    check_fine_grained(made, 'made')
