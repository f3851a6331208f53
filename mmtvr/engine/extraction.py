"""Features of frozen towers, computed once: the work of ``tools/extract.py``.

A split is cut into parts of fixed size, each written as a file of its own, so
that a killed run goes on, and any number of processes may share the work: the
content of a part does not depend on who made it. Who finds all parts joins
them into one file.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xxhash
from filelock import FileLock
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmtvr.datasets.frozen_features import (
    FORMAT,
    METADATA,
    FeatureFile,
    Samples,
    build_unread,
    describe_data,
    refuse_difference,
    split_pipeline,
    stamp_video,
)
from mmtvr.errors import SetupError
from mmtvr.files import atomic_path, hash_file
from mmtvr.models.frozen import describe_encoder, extract
from mmtvr.randomness import place_seed, same_random_state, seed_generators
from mmtvr.registry import TRANSFORMS
from mmtvr.structures import TokenFeatures

SUFFIX = '.safetensors'
PART_VIDEOS = 64
PART_CAPTIONS = 1024
BATCH_VIDEOS = 16
# On a CPU the maps of more images leave its cache: EfficientNet-Lite0 takes
# 29 ms for each of 2 images at 224, 80 ms for each of 32.
BATCH_VIDEOS_CPU = 1
BATCH_CAPTIONS = 128


class Part(NamedTuple):
    """Some videos or captions of a split.

    Attributes:
        table: ``'video'`` or ``'text'``.
        number: Of the part in its table.
        items: Rows of the table in :class:`Samples`.
    """

    table: str
    number: int
    items: range

    @property
    def name(self) -> str:
        """Name of its file."""
        return f'{self.table}-{self.number:06d}{SUFFIX}'


class Extraction:
    """Features of one split.

    Args:
        model: With the weights that count, in evaluation mode, on its device.
        model_config: Config of the model.
        loader: Config of the loader of the split, with its dataset.
        path: File to write.
        views: Draws of a video of a training set. The first one is the
            middle frame of each segment and the caption as written, others
            are drawn as in training. A test set has one.

    Raises:
        SetupError: The dataset lacks files, or the file holds features that
            depend on something else.
    """

    def __init__(
        self,
        model: nn.Module,
        model_config: Mapping[str, Any],
        loader: Mapping[str, Any],
        path: Path,
        views: int = 1,
    ) -> None:
        self.model = model
        self.path = path
        device = next(model.parameters()).device
        self.batch_videos = (
            BATCH_VIDEOS_CPU if device.type == 'cpu' else BATCH_VIDEOS
        )
        self.workers = loader.get('num_workers', 0)
        config = loader['dataset']
        videos, texts = split_pipeline(config['pipeline'])
        # It passes all captions to the transforms that ask for them.
        dataset = build_unread(config, texts)
        self.samples = Samples(dataset)
        self.refuses = dataset.test_mode and not config.get('skip_unreadable')
        self.words: Compose = dataset.pipeline
        self.frames = [
            Compose([TRANSFORMS.build(each) for each in chosen])
            for chosen in (_in_the_middle(videos), videos)
        ]
        if dataset.test_mode:
            views = 1
        random_words = views > 1 and self._draws_words(views)
        self.views = dict(video=views, text=views if random_words else 1)
        self.identity = dict(
            format=FORMAT,
            views=self.views,
            text_encoder=describe_encoder(
                model_config['text_encoder'], model.text_encoder
            ),
            frame_encoder=describe_encoder(
                model_config['frame_encoder'], model.frame_encoder
            ),
            normalize=describe_normalization(model),
            data=describe_data(config, self.samples),
        )
        self.identity = json.loads(json.dumps(self.identity, default=repr))
        text = json.dumps(self.identity, sort_keys=True)
        self._digest = xxhash.xxh3_64_hexdigest(text.encode())
        self.folder = path.with_name(f'{path.stem}-{self._digest}.parts')

    @property
    def is_done(self) -> bool:
        """Whether the file is there.

        Raises:
            SetupError: It holds features that depend on something else.
        """
        if not self.path.exists():
            return False
        refuse_difference(
            self.path, FeatureFile(self.path).identity, self.identity
        )
        return True

    def list_parts(self) -> list[Part]:
        """All parts of both tables."""
        sizes = dict(
            video=(len(self.samples.videos), PART_VIDEOS),
            text=(len(self.samples.captions), PART_CAPTIONS),
        )
        return [
            Part(table, number, range(start, min(start + step, count)))
            for table, (count, step) in sizes.items()
            for number, start in enumerate(range(0, count, step))
        ]

    def run(self, rank: int = 0, world_size: int = 1) -> bool:
        """Compute the parts of a process, and join all if it is the last.

        Args:
            rank: Of the process.
            world_size: How many processes share the work.

        Returns:
            Whether the file is there now.

        Raises:
            SetupError: A video of a test set cannot be read, or features do
                not fit into half precision.
        """
        if self.is_done:
            return True
        parts = self.list_parts()
        missing = [
            part
            for part in parts[rank::world_size]
            if not (self.folder / part.name).exists()
        ]
        bar = tqdm(
            missing, self.path.stem, unit='part', mininterval=1, disable=rank
        )
        batches = self._read_videos(missing)
        for part in bar:
            if part.table == 'video':
                tensors = self._encode_videos(part.items, batches)
            else:
                words = map(self._encode_words, self._pack_words(part))
                tensors = _concatenate(list(words))
            _save(self.folder / part.name, tensors)
        return self._join(parts)

    def _read_videos(self, parts: Sequence[Part]) -> Iterator[list]:
        """Read the frames of all parts, batches of one part each."""
        views = self.views['video']
        batches = [
            keys[start : start + self.batch_videos]
            for part in parts
            if part.table == 'video'
            for keys in [[(i, v) for i in part.items for v in range(views)]]
            for start in range(0, len(keys), self.batch_videos)
        ]
        return iter(
            DataLoader(
                _Views(self.samples.videos, self.frames),
                batch_sampler=batches,
                num_workers=self.workers if batches else 0,
                collate_fn=list,
            )
        )

    def _join(self, parts: Sequence[Part]) -> bool:
        with FileLock(self.path.with_suffix('.lock')):
            if self.path.exists():
                shutil.rmtree(self.folder, ignore_errors=True)
                return True
            paths = [self.folder / part.name for part in parts]
            if not all(path.exists() for path in paths):
                return False
            tensors = {}
            for table in ('video', 'text'):
                found = [
                    load_file(path)
                    for path, part in zip(paths, parts, strict=True)
                    if part.table == table
                ]
                for name, joined in _concatenate(found).items():
                    tensors[f'{table}.{name}'] = joined
            metadata = {METADATA: json.dumps(self.identity, sort_keys=True)}
            _save(self.path, tensors, metadata)
        shutil.rmtree(self.folder)
        return True

    @torch.no_grad()
    def _encode_videos(
        self, items: range, batches: Iterator[list]
    ) -> dict[str, Tensor]:
        views = self.views['video']
        count = -(-len(items) * views // self.batch_videos)
        rows = [
            row
            for batch in islice(batches, count)
            for row in self._encode_frames(batch)
        ]
        files = [self.samples.videos[item]['filename'] for item in items]
        stamps = [stamp_video(file) for file in files]
        hashes = [list(bytes.fromhex(hash_file(file))) for file in files]
        whole = next((row for row in rows if row['readable']), None)
        if whole is None:
            raise SetupError(
                f'{len(items)} videos one after another cannot be read, '
                f'{files[0]} is the first: check the '
                'folder of the videos (python tools/data/verify.py CONFIG)'
            )
        joined = _concatenate([_fill(row, whole) for row in rows])
        joined['readable'] = joined['readable'].view(-1, views).all(1)
        return dict(
            joined,
            stamps=torch.tensor(stamps),
            hashes=torch.tensor(hashes, dtype=torch.uint8),
        )

    def _encode_frames(self, batch: list[Any]) -> Iterator[dict[str, Tensor]]:
        packed = [each for each in batch if not isinstance(each, str)]
        problems = [each for each in batch if isinstance(each, str)]
        if problems and self.refuses:
            raise SetupError(
                f'unreadable video {problems[0]}. Fix the files (python '
                'tools/data/verify.py CONFIG lists all), or set '
                'skip_unreadable=True in the dataset to go on without them.'
            )
        features = iter(())
        if packed:
            inputs = self._preprocess(packed)
            frames = inputs['frames']
            if not frames.is_floating_point():
                frames = self.model.data_preprocessor.normalize(frames)
            raw = extract(
                self.model.frame_encoder, frames, inputs['frame_mask']
            )
            names = [each['data_samples'].get('filename') for each in packed]
            features = _to_rows(raw, names)
        yes, no = torch.tensor([True]), torch.tensor([False])
        for each in batch:
            lost = isinstance(each, str)
            yield (
                dict(readable=no)
                if lost
                else dict(next(features), readable=yes)
            )

    def _pack_words(self, part: Part) -> Iterator[dict]:
        views = self.views['text']
        items = [(item, self.samples.captions[item]) for item in part.items]
        step = max(1, BATCH_CAPTIONS // views)
        for start in range(0, len(items), step):
            chosen = items[start : start + step]
            if views == 1:
                yield self.words(dict(text=[text for _, text in chosen]))
                continue
            texts = [text for _, text in chosen for _ in range(views)]
            drawn = [
                self._draw_words(text, item, view)
                for item, text in chosen
                for view in range(views)
            ]
            yield dict(
                inputs={
                    key: torch.cat([each['inputs'][key] for each in drawn])
                    for key in drawn[0]['inputs']
                },
                data_samples=BaseDataElement(metainfo=dict(text=texts)),
            )

    def _draw_words(self, text: str, item: int, view: int) -> dict:
        with same_random_state():
            seed_generators(place_seed(item, view), gpus=False)
            # A list is taken as in a test: as written.
            return self.words(dict(text=text if view else [text]))

    def _draws_words(self, views: int) -> bool:
        """Whether the transforms of texts make several views of a caption."""
        for item, text in enumerate(self.samples.captions[:BATCH_CAPTIONS]):
            first, *others = (
                self._draw_words(text, item, view)['inputs']['tokens']
                for view in range(views)
            )
            if any(not torch.equal(first, other) for other in others):
                return True
        return False

    @torch.no_grad()
    def _encode_words(self, packed: dict) -> dict[str, Tensor]:
        inputs = self._preprocess([packed])
        raw = extract(
            self.model.text_encoder,
            inputs['tokens'],
            inputs['token_mask'],
            inputs.get('token_weight'),
        )
        row = _concatenate(list(_to_rows(raw, packed['data_samples'].text)))
        if 'cut_pieces' in inputs:
            row['cut'] = inputs['cut_pieces'].cpu()
        return row

    def _preprocess(self, packed: list[dict]) -> dict[str, Tensor]:
        batch = pseudo_collate(packed)
        return self.model.data_preprocessor(batch, False)['inputs']


def describe_normalization(model: nn.Module) -> dict[str, list[float]]:
    """Mean and deviation by which a model normalises frames."""
    found = {}
    for name in ('mean', 'std'):
        value = getattr(model.data_preprocessor, name, None)
        if isinstance(value, Tensor):
            found[name] = value.flatten().tolist()
    return found


class _Views(Dataset):
    """Frames of each view of some videos, or why they cannot be read."""

    def __init__(
        self, videos: Sequence[dict], pipelines: Sequence[Compose]
    ) -> None:
        self.videos, self.pipelines = videos, pipelines

    def __getitem__(self, key: tuple[int, int]) -> dict | str:
        item, view = key
        sample = dict(self.videos[item])
        pipeline = self.pipelines[view > 0]
        with same_random_state():
            seed_generators(place_seed(item, view), gpus=False)
            try:
                packed = pipeline(dict(sample))
            except SetupError:
                packed = None
                problem = self._find_problem(sample)
                if problem is None:
                    raise
        if packed is None:
            problem = self._find_problem(sample) or 'it cannot be read'
            return f'{sample["filename"]}: {problem}'
        return packed

    def _find_problem(self, sample: dict) -> str | None:
        for transform in self.pipelines[0].transforms:
            if hasattr(transform, 'find_problem'):
                return transform.find_problem(sample)
        return None


def _in_the_middle(transforms: Sequence[dict]) -> list[dict]:
    """The transforms of videos, with the middle frames of the segments."""
    return [
        dict(each, test_mode=True)
        if str(each['type']).rpartition('.')[2] == 'LoadVideoFrames'
        else each
        for each in transforms
    ]


def _to_rows(
    raw: TokenFeatures, names: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """Half precision rows of raw features, tokens without padding."""
    masks = raw.mask.cpu()
    for row, (mask, name) in enumerate(zip(masks, names, strict=True)):
        found = dict(
            tokens=raw.tokens[row][raw.mask[row]].half().cpu(),
            mask=mask[None],
            pooled=raw.pooled[row][None].half().cpu(),
        )
        for tensor in (found['tokens'], found['pooled']):
            if not torch.isfinite(tensor).all():
                raise SetupError(
                    f'features of {name!r} are NaN, infinite or '
                    'above 65,504, which half precision cannot hold: this '
                    'encoder cannot be stored'
                )
        if raw.weight is not None:
            found['weight'] = raw.weight[row][None].float().cpu()
        yield found


def _fill(row: dict[str, Tensor], like: dict[str, Tensor]) -> dict:
    """A row of an unreadable video has the shape of another one."""
    if 'mask' in row:
        return row
    empty = {key: torch.zeros_like(value) for key, value in like.items()}
    return dict(empty, tokens=like['tokens'][:0], readable=row['readable'])


def _save(
    path: Path, tensors: dict[str, Tensor], metadata: dict | None = None
) -> None:
    with atomic_path(path, durable=True) as partial:
        save_file(tensors, partial, metadata)
        # safetensors makes files for their owner alone.
        partial.chmod(0o644)


def _concatenate(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join rows, those with an axis of tokens padded to the longest."""
    length = max(row['mask'].shape[1] for row in rows)
    joined = {}
    for name in rows[0]:
        parts = [row[name] for row in rows]
        if name in ('mask', 'weight'):
            parts = [pad(each, (0, length - each.shape[1])) for each in parts]
        joined[name] = torch.cat(parts)
    return joined
