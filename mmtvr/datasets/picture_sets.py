"""Small public picture collections, prepared in leak-free folds.

Free Exercise DB (yuhonas/free-exercise-db, public domain): 873 exercises of
two photographs each, a clip with name and equipment as the short caption and
the instructions as the long one. Animated Fluent Emoji (npm
``@lobehub/fluent-emoji-anim-1`` to ``-4``, MIT): animated WebP files, with
names and tags in many languages from npm ``emojibase-data`` (MIT).
"""

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mmtvr.datasets.annotations import VideoCaptions
from mmtvr.datasets.fine_grained import FineGrainedWriter
from mmtvr.datasets.input_files import (
    expect,
    read_json,
    take_name,
    take_texts,
)
from mmtvr.datasets.keywords import WORD
from mmtvr.errors import SetupError, import_extra
from mmtvr.files import write_atomically

NUM_FOLDS = 5


#: What a short caption of an exercise lacks without its last or first part.
FIELDS = ('equipment', 'name')


class Fold(NamedTuple):
    """Rows of one fold.

    Attributes:
        train: Shape (N,), int64.
        val: Shape (M,), int64, for tuning.
        test: Shape (K,), int64; each row is in the test of exactly one fold.
    """

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def group_rows(
    keys: Sequence[Hashable], linked: Iterable[tuple[int, int]] = ()
) -> np.ndarray:
    """Group rows that share a key or are linked, also through others.

    Args:
        keys: One per row; equal keys belong together.
        linked: Pairs of rows that belong together too, such as
            near-duplicate pictures.

    Returns:
        Shape (N,), int64: the smallest row of each row's group.

    Example:
        >>> group_rows(['curl', 'row', 'curl', 'press'], [(1, 3)]).tolist()
        [0, 1, 0, 1]
    """
    first: dict[Hashable, int] = {}
    pairs = [(row, first.setdefault(key, row)) for row, key in enumerate(keys)]
    rows, others = np.array([*pairs, *linked], dtype=np.int64).reshape(-1, 2).T
    links = coo_array(
        (np.ones(len(rows), bool), (rows, others)), (len(keys), len(keys))
    )
    _, labels = connected_components(links, directed=False)
    _, smallest = np.unique(labels, return_index=True)
    return smallest[labels]


def near_duplicates(hashes: np.ndarray, max_distance: int) -> np.ndarray:
    """Pairs of rows whose pictures look nearly the same.

    Args:
        hashes: Shape (N, P, B), bool: perceptual hashes of B bits of the P
            pictures of each row.
        max_distance: Largest Hamming distance, in bits, of a near-duplicate.

    Returns:
        Shape (M, 2), int64: rows i < j with a picture each that are at most
        that far apart.
    """
    rows, pictures, _ = hashes.shape
    bits = hashes.reshape(rows * pictures, -1).astype(np.float32)
    # Hamming distance by two matrix products: memory (N * P) squared.
    distance = bits @ (1 - bits.T) + (1 - bits) @ bits.T
    near = (distance <= max_distance).reshape(rows, pictures, rows, pictures)
    return np.argwhere(np.triu(near.any(axis=(1, 3)), k=1))


def split_groups(groups: np.ndarray, num_folds: int = NUM_FOLDS) -> list[Fold]:
    """Split rows into folds of about equal size that part no group.

    Args:
        groups: Shape (N,), from :func:`group_rows`.
        num_folds: Number of folds. A fifth of what is not tested is for
            validation.

    Returns:
        The folds; the same for the same groups.

    Raises:
        SetupError: scikit-learn is not installed.
    """
    model_selection = import_extra(
        'sklearn.model_selection', 'demo', 'splitting into folds'
    )
    folding = model_selection.GroupKFold
    rows = np.arange(len(groups))
    folds = []
    for rest, test in folding(num_folds).split(rows, groups=groups):
        train, val = next(folding(5).split(rest, groups=groups[rest]))
        folds.append(Fold(rest[train], rest[val], test))
    return folds


# At 4 of 64 bits, pairs of different exercises are photographs of one scene
# with the arms elsewhere; at 6 the studio alone links a quarter of all.
MAX_HASH_DISTANCE = 4
NO_EQUIPMENT = ('none', 'body only', 'other', '')
# What tells variants of an exercise apart, not exercises.
VARIANT_WORDS = frozenset(
    """
    a alternate alternating an and arm arms armed ball band bands bar barbell
    bent bodyweight body bosu cable cables close decline double down dumbbell
    dumbbells e exercise ez flat for front grip hand handed hands high in
    incline kettlebell kettlebells kneeling leg legged legs lever leverage low
    lying machine medicine medium narrow of on one out over palms plate
    pulley rear reverse rope seated side single smith standing straight the to
    two up using v version weight weighted wide with z
    """.split()  # noqa: SIM905
)


class Exercise(NamedTuple):
    """One exercise as the repository describes it.

    Attributes:
        id: Name of its folder.
        name: As written.
        equipment: Of the exercise, '' for none.
        instructions: One text per step.
        images: Its photographs, in order.
    """

    id: str
    name: str
    equipment: str
    instructions: tuple[str, ...]
    images: tuple[Path, ...]

    def caption(self, long: bool) -> str:
        """The instructions as one paragraph, or name and equipment."""
        if long:
            return ' '.join(self.instructions)
        if self.equipment in NO_EQUIPMENT:
            return self.name
        return f'{self.name} with {self.equipment}'


def read_exercises(folder: Path) -> list[Exercise]:
    """Read a clone of the repository.

    Args:
        folder: With ``dist/exercises.json`` and the photographs below
            ``exercises/``.

    Returns:
        Exercises with a photograph and instructions, in the file's order.

    Raises:
        SetupError: The file or a photograph is missing, or a field is not
            what it should be.
    """
    source = folder / 'dist/exercises.json'
    exercises = []
    for number, row in enumerate(expect(read_json(source), list, str(source))):
        where = f'exercise {number} of {source}'
        expect(row, dict, where)
        images = tuple(
            folder / 'exercises' / take_name(name, where)
            for name in take_texts(row.get('images'), where)
        )
        missing = [image for image in images if not image.is_file()]
        if missing:
            raise SetupError(f'{where}: {missing[0]} is missing')
        steps = take_texts(row.get('instructions'), where)
        if images and any(step.strip() for step in steps):
            exercises.append(
                Exercise(
                    take_name(row.get('id'), where),
                    expect(row.get('name'), str, where),
                    row.get('equipment') or '',
                    tuple(steps),
                    images,
                )
            )
    return exercises


def name_stem(name: str) -> str:
    """What the variants of an exercise have in common.

    Args:
        name: Such as ``'Seated One-Arm Dumbbell Curl'``.

    Returns:
        Its words in alphabetic order, without equipment, side and posture.

    Example:
        >>> name_stem('Seated One-Arm Dumbbell Curl'), name_stem('Cable Curls')
        ('curl', 'curl')
    """
    name = re.sub(r'\(.*?\)', '', name.lower()).partition(' - ')[0]
    words = [
        re.sub(r'(?<=..)(?:(?<=[sx])es|(?<!s)s)$', '', word)
        for word in re.findall('[a-z]+', name)
        if word not in VARIANT_WORDS
    ]
    return ' '.join(sorted(words)) or name.strip()


def hash_images(exercises: list[Exercise]) -> np.ndarray:
    """Perceptual hashes of the photographs.

    Args:
        exercises: N exercises. One with fewer photographs than another
            repeats its last.

    Returns:
        Shape (N, P, 64), bool.

    Raises:
        SetupError: A photograph cannot be read, or ``imagehash`` is not
            installed.
    """
    phash = import_extra('imagehash', 'demo', 'comparing photographs').phash
    count = max(len(exercise.images) for exercise in exercises)
    rows = []
    for exercise in exercises:
        hashes = [
            phash(_open_image(path)).hash.ravel() for path in exercise.images
        ]
        rows.append(hashes + hashes[-1:] * (count - len(hashes)))
    return np.array(rows, dtype=bool)


def split_exercises(
    exercises: list[Exercise], hashes: np.ndarray, long: bool = False
) -> dict[str, list[VideoCaptions]]:
    """Split exercises into five folds, each of train, val and test.

    Exercises with the same :func:`name_stem` or with photographs of one scene
    are on one side of every split.

    Args:
        exercises: N exercises.
        hashes: Shape (N, P, 64), from :func:`hash_images`.
        long: Instructions in place of name and equipment.

    Returns:
        ``fold0_train``, ``fold0_val``, ``fold0_test``, ...
    """
    linked = near_duplicates(hashes, MAX_HASH_DISTANCE)
    groups = group_rows([name_stem(each.name) for each in exercises], linked)
    videos = [
        VideoCaptions(f'{each.id}.mp4', (each.caption(long),))
        for each in exercises
    ]
    return {
        f'fold{number}_{split}': [videos[row] for row in rows]
        for number, fold in enumerate(split_groups(groups))
        for split, rows in fold._asdict().items()
    }


def write_clip(exercise: Exercise, path: Path, size: int = 256) -> None:
    """Write the photographs of an exercise as a clip, a second each.

    Args:
        exercise: Whose photographs; each is cropped to a square.
        path: The MP4 file to write.
        size: Width and height, in pixels.

    Raises:
        SetupError: A photograph cannot be read.
    """
    with av.open(str(path), 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=1)
        stream.width = stream.height = size
        stream.pix_fmt = 'yuv420p'
        stream.options = {'crf': '16', 'g': '1', 'bf': '0'}
        for image in exercise.images:
            square = ImageOps.fit(_open_image(image), (size, size))
            frame = av.VideoFrame.from_image(square)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _open_image(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert('RGB')
    except (OSError, UnidentifiedImageError) as error:
        raise SetupError(f'{path} cannot be read: {error}') from error


SKIN_TONE = re.compile('1f3f[b-f]')
# Man, woman and adult; the signs that make a person a woman or a man.
PERSON = ('1f468', '1f469', '1f9d1')
GENDERS = ('2640', '2642')
JOINER, EMOJI_STYLE = '200d', 'fe0f'


class Emoji(NamedTuple):
    """One emoji file.

    Attributes:
        code: Its code points, lower case, without variation selectors.
        path: The WebP file.
        frames: Number of frames, 1 for a still.
    """

    code: str
    path: Path
    frames: int


def read_emoji(folder: Path) -> list[Emoji]:
    """Find the pictures of unpacked packages.

    Args:
        folder: Any folder above their ``assets``.

    Returns:
        Every emoji once, sorted by code.

    Raises:
        SetupError: There is none, or one cannot be read.
    """
    found = {}
    for path in sorted(folder.rglob('assets/*.webp')):
        try:
            with Image.open(path) as image:
                frames = getattr(image, 'n_frames', 1)
        except (OSError, UnidentifiedImageError) as error:
            raise SetupError(f'{path} cannot be read: {error}') from error
        code = normalize_code(path.stem)
        found.setdefault(code, Emoji(code, path, frames))
    if not found:
        raise SetupError(
            f'{folder} holds no assets/*.webp; unpack what `npm pack '
            '@lobehub/fluent-emoji-anim-1` (to -4) gets into it'
        )
    return [found[code] for code in sorted(found)]


def normalize_code(code: str) -> str:
    """Code points in lower case, without variation selectors.

    Example:
        >>> normalize_code('0023-FE0F-20E3'), normalize_code('23-20e3')
        ('23-20e3', '23-20e3')
    """
    points = code.lower().split('-')
    return '-'.join(p.lstrip('0') for p in points if p != EMOJI_STYLE)


def base_code(code: str) -> str:
    """What skin tones and genders of one emoji have in common.

    Args:
        code: From :func:`normalize_code`.

    Example:
        >>> base_code('1f926-1f3fe-200d-2642'), base_code('1f926')
        ('1f926', '1f926')
    """
    points = [
        PERSON[-1] if point in PERSON else point
        for point in code.split('-')
        if not SKIN_TONE.fullmatch(point) and point not in GENDERS
    ]
    while points and points[-1] == JOINER:
        points.pop()
    return '-'.join(points)


def read_captions(folder: Path, language: str = 'en') -> dict[str, str]:
    """Read the name and the tags of each emoji.

    Args:
        folder: The unpacked ``emojibase-data``.
        language: Name of one of its subfolders.

    Returns:
        Code to ``'name: tag, tag, tag'``, tags that stand in the name left
        out.

    Raises:
        SetupError: There is no such language, or its file is not as
            published.
    """
    source = folder / language / 'data.json'
    captions = {}
    for row in expect(read_json(source), list, str(source)):
        for entry in (row, *row.get('skins', ())):
            name = expect(entry.get('label'), str, f'a label of {source}')
            known = name.lower()
            tags = [
                tag
                for tag in entry.get('tags', row.get('tags', ()))
                if tag.lower() not in known
            ]
            caption = f'{name}: {", ".join(tags)}' if tags else name
            captions[normalize_code(entry['hexcode'])] = caption
    return captions


def select_moving(emoji: list[Emoji]) -> list[Emoji]:
    """One moving emoji of each base: the first without skin tone.

    Args:
        emoji: All of them.

    Returns:
        Those with several frames; skin tones and genders, which are nearly
        the same picture, are represented by one.
    """
    chosen: dict[str, Emoji] = {}
    for each in sorted(emoji, key=lambda e: (len(e.code), e.code)):
        toned = SKIN_TONE.search(each.code)
        if each.frames > 1 and not toned:
            chosen.setdefault(base_code(each.code), each)
    return sorted(chosen.values())


def select_twins(emoji: list[Emoji], chosen: list[Emoji]) -> list[Emoji]:
    """Other skin tones and genders of chosen emoji, as distractors."""
    bases = {base_code(each.code) for each in chosen}
    known = set(chosen)
    return [
        each
        for each in emoji
        if base_code(each.code) in bases
        and each not in known
        and each.frames > 1
    ]


def split_emoji(
    chosen: list[Emoji], captions: dict[str, str]
) -> dict[str, list[VideoCaptions]]:
    """Split emoji into five folds, each of train, val and test.

    Args:
        chosen: From :func:`select_moving`.
        captions: From :func:`read_captions`. Emoji without one are left out.

    Returns:
        ``fold0_train``, ``fold0_val``, ``fold0_test``, ...; a fold holds the
        same emoji in every language that describes all of them.
    """
    groups = group_rows([base_code(each.code) for each in chosen])
    return {
        f'fold{number}_{split}': [
            VideoCaptions(
                f'{chosen[row].code}.webp', (captions[chosen[row].code],)
            )
            for row in rows
            if chosen[row].code in captions
        ]
        for number, fold in enumerate(split_groups(groups))
        for split, rows in fold._asdict().items()
    }


def make_picture_captions(videos: list[VideoCaptions]) -> dict[str, Any]:
    """Make a set of fine-grained captions of a split.

    Partial captions leave out a thing that the fields of the collection
    name, so they stay true: the equipment (``curl with dumbbell``) or the
    name in front of it; all tags of an emoji (``fox: animal, face``), or its
    label; the second half of the sentences of a long caption. Twins
    (``word``) are captions of two videos of the split that differ in one of
    at least two words, which names another thing for most, not for all.

    Args:
        videos: Of one split; the first caption of each counts.

    Returns:
        What JSON holds, see :mod:`mmtvr.evaluation.fine_grained`.
    """
    writer = FineGrainedWriter([video.file for video in videos])
    captions = [video.captions[0] for video in videos]
    for number, caption in enumerate(captions):
        for kind, partial in _leave_out(caption):
            writer.add('partial', kind, caption, partial, number)
    words = [WORD.findall(caption.lower()) for caption in captions]
    for number, one in enumerate(words):
        for other in range(number + 1, len(words)):
            pairs = list(zip(one, words[other], strict=False))
            same_length = len(one) == len(words[other]) > 1
            if same_length and len({p for p in pairs if p[0] != p[1]}) == 1:
                writer.add(
                    'twins',
                    'word',
                    captions[number],
                    captions[other],
                    number,
                    twin_video=other,
                )
    return writer.content


def _leave_out(caption: str) -> Iterator[tuple[str, str]]:
    sentences = re.split(r'(?<=[.!?])\s+', caption)
    if len(sentences) > 1:
        yield 'sentences', ' '.join(sentences[: len(sentences) // 2])
        return
    for mark, kinds in ((': ', ('tags', 'label')), (' with ', FIELDS)):
        first, found, rest = caption.partition(mark)
        if found:
            yield kinds[0], first
            yield kinds[1], rest
            return


def write_picture_captions(
    splits: Mapping[str, list[VideoCaptions]], folder: Path
) -> None:
    """Write ``SPLIT_fine-grained.json`` of each split that is evaluated."""
    for name, videos in splits.items():
        if not name.endswith('train'):
            text = json.dumps(make_picture_captions(videos), indent=1)
            write_atomically(folder / f'{name}_fine-grained.json', text)
