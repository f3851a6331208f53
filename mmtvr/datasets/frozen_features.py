"""Stored features of frozen towers: their file, and a dataset that reads it.

A file holds two tables in safetensors. A row of ``video.*`` is one view of a
video, a row of ``text.*`` one view of a caption; the views of an item follow
each other. Tokens are stored in half precision without padding, one behind
the other, with the mask that says where they belong. The metadata is JSON
that says what the features depend on.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from mmaction.structures import ActionDataSample
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from mmtvr.datasets.samplers import SeededIndex
from mmtvr.datasets.transforms.packing import find_side
from mmtvr.errors import SetupError, first_line
from mmtvr.files import hash_file
from mmtvr.registry import DATASETS
from mmtvr.video.cache import decoder_versions

FORMAT = 1
METADATA = 'mmtvr'
#: Arguments of transforms that change neither frames nor words.
WITHOUT_EFFECT = ('cache', 'time_limit', 'test_mode', 'meta_keys')
SHOWN = 120
#: What a file has one row of for each video, whatever its views, and tokens.
OF_ITEMS = (
    *('video.tokens', 'text.tokens'),
    *('video.readable', 'video.stamps', 'video.hashes'),
)


def split_pipeline(
    pipeline: Sequence[Mapping[str, Any]],
) -> tuple[list[dict], list[dict]]:
    """Sort the configs of transforms into those of videos and of texts.

    One that reads both is in both lists.
    """
    sides = [(dict(each), find_side(each['type'])) for each in pipeline]
    videos = [each for each, side in sides if side != 'text']
    texts = [each for each, side in sides if side != 'video']
    return videos, texts


def build_unread(dataset: Mapping[str, Any], pipeline: list[dict]) -> Any:
    """Build a dataset of the config with other transforms, and load it."""
    built = DATASETS.build(ConfigDict(dataset, pipeline=pipeline))
    built.full_init()
    return built


class Samples:
    """The videos and the captions of a dataset, each once, in their order.

    Args:
        dataset: Gives samples with ``filename``, ``video_id`` and ``text``.

    Attributes:
        videos: A sample of each of the V videos.
        captions: The distinct captions.
    """

    def __init__(self, dataset: Any) -> None:
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        self.videos: list[dict] = []
        self.video_rows: dict[int, int] = {}
        self.caption_rows: dict[str, int] = {}
        digest = xxhash.xxh3_128()
        for info in infos:
            video_id, texts = int(info['video_id']), as_list(info['text'])
            if video_id not in self.video_rows:
                self.video_rows[video_id] = len(self.videos)
                self.videos.append(info)
            for text in texts:
                self.caption_rows.setdefault(text, len(self.caption_rows))
            span = info.get('start'), info.get('end')
            name = Path(info['filename']).name
            digest.update(json.dumps([name, video_id, span, texts]).encode())
        self.captions = list(self.caption_rows)
        self.digest = digest.hexdigest()


def as_list(text: str | Sequence[str]) -> list[str]:
    """The captions of a sample."""
    return [text] if isinstance(text, str) else list(text)


def describe_data(
    config: Mapping[str, Any], samples: Samples
) -> dict[str, Any]:
    """Say what the inputs of the towers depend on, the files excepted.

    Args:
        config: Of the dataset, with its pipeline.
        samples: Its samples.

    Returns:
        JSON.
    """
    videos, texts = split_pipeline(config['pipeline'])
    described = dict(
        video_pipeline=_without_effect(videos),
        text_pipeline=_without_effect(texts),
        reader=decoder_versions(),
        annotations=dict(
            file=str(config.get('ann_file', config.get('split', ''))),
            videos=len(samples.videos),
            captions=len(samples.captions),
            content=samples.digest,
        ),
    )
    return json.loads(json.dumps(described, default=repr))


def _without_effect(transforms: list[dict]) -> list[dict]:
    return [
        {k: v for k, v in each.items() if k not in WITHOUT_EFFECT}
        for each in transforms
    ]


def find_difference(
    stored: Any, now: Any, place: str = ''
) -> tuple[str, Any, Any] | None:
    """Find the first place in which two JSON values differ.

    Returns:
        The place and both values there, or None.
    """
    if isinstance(stored, dict) and isinstance(now, dict):
        for key in [*stored, *(key for key in now if key not in stored)]:
            at = f'{place}.{key}' if place else key
            found = find_difference(stored.get(key), now.get(key), at)
            if found:
                return found
        return None
    if (
        isinstance(stored, list)
        and isinstance(now, list)
        and len(stored) == len(now)
    ):
        for number, (one, other) in enumerate(zip(stored, now, strict=True)):
            found = find_difference(one, other, f'{place}[{number}]')
            if found:
                return found
        return None
    return None if stored == now else (place, stored, now)


def refuse_difference(
    path: Path, stored: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Refuse features of another encoder, preprocessing, sampling or data.

    Args:
        path: The file of features.
        stored: What they depend on.
        now: The same of the config in use, or some of it.

    Raises:
        SetupError: The two differ; names the place and both values.
    """
    # Tuples of a config are lists in the file.
    now = json.loads(json.dumps(now, default=repr))
    for key in now:
        parts = [stored.get(key), now[key]]
        names = [f'{each!r:.{SHOWN}}' for each in parts]
        if key.endswith('encoder'):
            # The weights count, not where they were found.
            names = [name_encoder(each) for each in parts]
            parts = [{**(each or {}), 'source': None} for each in parts]
        found = find_difference(*parts, key)
        if found is None:
            continue
        place, *values = found
        if not key.endswith('encoder'):
            names = [f'{each!r:.{SHOWN}}' for each in values]
        raise SetupError(
            f'the features in {path} were made with {place} = {names[0]}, '
            f'but the config now has {names[1]}: extract them again into '
            'another folder (python tools/extract.py CONFIG FOLDER), or use '
            'the config they were made with'
        )


def name_encoder(described: Mapping[str, Any] | None) -> str:
    """Name an encoder by its class, its source and its weights."""
    if described is None:
        return 'no encoder'
    options = {**described['source'], **described['options']}
    listed = ', '.join(f'{k}={v!r}' for k, v in options.items())
    return f'({listed:.{SHOWN}}; weights {described["weights"][:12]})'


def stamp_video(path: str | Path) -> tuple[int, int]:
    """Size and time of modification of a file, in bytes and nanoseconds."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


class FeatureFile:
    """Features of frozen towers in memory.

    Args:
        path: A file that ``tools/extract.py`` wrote.

    Attributes:
        identity: What the features depend on.
        views: Draws of each video, and of each caption.

    Raises:
        SetupError: There is no such file, or it is another one.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise SetupError(
                f'there are no features {path} (looked from {Path.cwd()}): '
                f'python tools/extract.py CONFIG {self.path.parent}'
            )
        try:
            with safe_open(self.path, 'pt') as file:
                text = (file.metadata() or {}).get(METADATA)
                names = file.keys()
                self._tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise SetupError(
                f'{path} is no file of features: {first_line(error)}'
            ) from error
        self.identity = json.loads(text) if text else {}
        if self.identity.get('format') != FORMAT:
            raise SetupError(
                f'{path} holds features of format '
                f'{self.identity.get("format")}, this version reads {FORMAT}: '
                'extract them again'
            )
        self.views = dict(self.identity['views'])

    @property
    def readable(self) -> Tensor:
        """Which of the V videos could be read, bool."""
        return self._tensors['video.readable']

    def get(self, table: str, rows: Sequence[int]) -> dict[str, Tensor]:
        """Read rows of a table.

        Args:
            table: ``'video'`` or ``'text'``.
            rows: N rows, item times views plus view.

        Returns:
            ``tokens`` (N, S, H) and ``pooled`` in half precision, ``mask``
            (N, S), and of captions ``weight`` (N, S), if they have it, and
            ``cut`` (N,).
        """
        index = torch.as_tensor(rows)
        found = {
            name.partition('.')[2]: self._tensors[name][index]
            for name in self._tensors
            if name.startswith(table) and name not in OF_ITEMS
        }
        mask, stored = found['mask'], self._tensors[f'{table}.tokens']
        counts = mask.sum(1)
        first = self._first[table][index] - counts.cumsum(0) + counts
        places = first.repeat_interleave(counts) + torch.arange(
            int(counts.sum())
        )
        tokens = stored.new_zeros(*mask.shape, stored.shape[1])
        tokens[mask] = stored[places]
        return dict(found, tokens=tokens)

    @cached_property
    def _first(self) -> dict[str, Tensor]:
        """Where the tokens of each row begin."""
        counts = {
            table: self._tensors[f'{table}.mask'].sum(1)
            for table in ('video', 'text')
        }
        return {name: each.cumsum(0) - each for name, each in counts.items()}

    def refuse_changed_videos(self, videos: Sequence[Mapping]) -> None:
        """Compare size and time of the videos, and where they differ content.

        Raises:
            SetupError: A video is not the one that was read.
        """
        stamps = self._tensors['video.stamps'].tolist()
        hashes = self._tensors['video.hashes'].numpy()
        for video, stamp, content in zip(videos, stamps, hashes, strict=True):
            size, modified = stamp_video(video['filename'])
            if [size, modified] == stamp:
                continue
            then, now = content.tobytes().hex(), ''
            if size == stamp[0]:
                now = hash_file(video['filename'])
            if now != then:
                raise SetupError(
                    f'{video["filename"]} has changed since the features in '
                    f'{self.path} were made of it: {stamp[0]:,} bytes '
                    f'({then[:8]}) then, {size:,} bytes '
                    f'({now[:8] or "another content"}) now. Extract them '
                    'again into another folder'
                )


@DATASETS.register_module()
class FrozenFeatureDataset(Dataset):
    """Samples of a dataset, as stored features of frozen towers.

    Neither videos nor captions are read by its pipeline; the videos must be
    there, as their size and time are compared. In training, each access draws
    one of the stored views of the video and of the caption; with one view
    that is the middle frames of the segments and the caption as written.

    Args:
        dataset (dict): Config of the dataset, a :class:`TextVideoDataset` or
            one with its samples.
        file (str): What ``tools/extract.py`` wrote of it.

    Raises:
        SetupError: The features are of another preprocessing, sampling,
            reader, annotation file or video.
    """

    #: A sample is drawn by the seed of its index, not by the generators.
    draws_by_seed = True

    def __init__(self, dataset: dict, file: str) -> None:
        self.config = dataset
        self.file = file
        self.features: FeatureFile | None = None
        self.dataset: Any = None

    def full_init(self) -> None:
        """Load the annotations and compare them with the file."""
        if self.dataset is not None:
            return
        dataset = build_unread(self.config, [])
        samples, features = Samples(dataset), FeatureFile(self.file)
        now = describe_data(self.config, samples)
        refuse_difference(features.path, features.identity['data'], now)
        features.refuse_changed_videos(samples.videos)
        self._rows = samples.video_rows, samples.caption_rows
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        readable = features.readable.tolist()
        self._infos = [
            info
            for info in infos
            if readable[samples.video_rows[int(info['video_id'])]]
        ]
        self.features, self.dataset = features, dataset
        left_out = len(readable) - sum(readable)
        print_log(
            f'{len(self._infos):,} samples from features in '
            f'{features.path}: {features.views["video"]} view(s) of a video, '
            f'{features.views["text"]} of a caption'
            + (f', without {left_out} unreadable videos' if left_out else ''),
            'current',
        )

    @property
    def metainfo(self) -> dict:
        """That of the dataset, and how many videos were unreadable."""
        self.full_init()
        info = dict(self.dataset.metainfo)
        rows = self._rows[0]
        lost = [
            i for i, row in rows.items() if not self.features.readable[row]
        ]
        if lost:
            info['left_out_ids'] = sorted(
                {*info.get('left_out_ids', ()), *lost}
            )
            info['left_out'] = (
                f'{len(info["left_out_ids"]):,} videos, whose files are '
                'missing or unreadable'
            )
        return info

    def __len__(self) -> int:
        """Return the number of samples."""
        self.full_init()
        return len(self._infos)

    def get_data_info(self, index: int) -> dict:
        """The sample as the dataset has it, without features."""
        self.full_init()
        return self._infos[index]

    def __getitem__(self, index: int) -> dict:
        """Take the features of a sample, as ``PackTextVideo`` packs it."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        """Take the features of a batch; loaders call it."""
        self.full_init()
        infos = [self._infos[index] for index in indices]
        seeds = [
            index.seed
            if isinstance(index, SeededIndex)
            else np.random.randint(2**63)
            for index in indices
        ]
        texts = [as_list(info['text']) for info in infos]
        if not self.dataset.test_mode:
            texts = [
                [each[seed % len(each)]]
                for each, seed in zip(texts, seeds, strict=True)
            ]
        video_rows, caption_rows = self._rows
        views, text_views = map(self.features.views.get, ('video', 'text'))
        draws = [seed >> 32 for seed in seeds]
        videos = self.features.get(
            'video',
            [
                video_rows[int(info['video_id'])] * views + draw % views
                for info, draw in zip(infos, draws, strict=True)
            ],
        )
        words = self.features.get(
            'text',
            [
                caption_rows[text] * text_views + draw // views % text_views
                for captions, draw in zip(texts, draws, strict=True)
                for text in captions
            ],
        )
        counts = [len(captions) for captions in texts]
        columns = {
            f'frame_{name}': each.unbind() for name, each in videos.items()
        }
        columns |= {
            TEXT_INPUTS[name]: each.split(counts)
            for name, each in words.items()
        }
        return [
            dict(
                inputs={key: column[i] for key, column in columns.items()},
                data_samples=ActionDataSample(
                    metainfo=dict(
                        video_id=info['video_id'],
                        sample_idx=int(index),
                        filename=info['filename'],
                        text=texts[i],
                    )
                ),
            )
            for i, (index, info) in enumerate(zip(indices, infos, strict=True))
        ]


#: What the model calls the parts of a row of captions.
TEXT_INPUTS = dict(
    tokens='words',
    mask='token_mask',
    pooled='sentence',
    weight='token_weight',
    cut='cut_pieces',
)
