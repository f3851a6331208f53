"""Videos with captions, the dataset of text-video retrieval."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmtvr.datasets.annotations import (
    VideoCaptions,
    complete_names,
    describe_captions,
    find_oddities,
    read_annotations,
    refuse_path_escapes,
)
from mmtvr.datasets.fine_grained import make_fine_grained
from mmtvr.datasets.keywords import load_tagger
from mmtvr.datasets.unreadable_videos import ReplacedSamples, name_some
from mmtvr.datasets.video_check import find_unreadable
from mmtvr.errors import SetupError
from mmtvr.registry import DATASETS


@DATASETS.register_module()
class TextVideoDataset(BaseDataset):
    """Videos and their captions, in the folders that mmaction2 uses.

    .. code-block:: text

        data/video_retrieval/msrvtt/     data_root
            train_9k.json                ann_file, see read_annotations
            test_JSFUSION.json
            videos/                      data_prefix['video']
                video0.mp4

    A sample that enters the pipeline is a dict with ``filename`` (path of the
    video), ``video_id`` (position of the video in the annotation file, so the
    same in every process and run), ``sample_idx``, ``modality`` and
    ``start_index`` (for mmaction2's loading transforms), where the annotation
    gives a time span ``start`` and ``end`` in seconds, and

    * in training ``text``: one caption;
    * with ``test_mode=True`` ``text``: the list of all captions of the video,
      so that each video is read and encoded once.

    A transform of the pipeline that has a method ``fit_captions(captions,
    ann_file)`` is passed all captions of the annotation file once, before the
    first sample, in the main process: see :class:`TagKeyWords` and
    :class:`DropUnimportantWords`.

    In training, another sample takes the place of one whose pipeline returns
    None. The reasons (``take_unreadable`` of a transform, see
    :class:`LoadVideoFrames`) travel with the next whole sample, as
    ``unreadable_videos`` in the meta information of its ``data_samples``,
    where :class:`UnreadableVideosHook` collects them.

    Args:
        ann_file (str): Annotation file, see :func:`read_annotations`.
        captions (str): What a training sample is. ``'all'``: each caption
            with its video. ``'random'``: each video with one of its captions,
            drawn at each access. Ignored in test mode.
        skip_missing (bool): Leave out videos whose file does not exist, with
            a warning that counts them, instead of refusing to start.
        skip_unreadable (bool): In test mode, leave out videos that cannot be
            read, with a warning, instead of refusing to start; see
            :func:`mmtvr.datasets.video_check.find_unreadable`. The report
            of the test says how many. Refused in training, where unreadable
            videos are replaced one by one.
        allow_outside (bool): Take videos that the annotation file names
            outside the folder of the videos too: by an absolute path, by
            ``..`` or through a link inside the folder. The folder itself may
            always be a link.
        data_prefix (dict): ``video`` is the folder of the videos.
        **kwargs: Arguments of :class:`mmengine.dataset.BaseDataset`, such as
            ``data_root``, ``pipeline``, ``test_mode`` and ``indices``.

    Raises:
        SetupError: If the annotation file, the videos folder or files in it
            are missing or, in test mode, cannot be read, a file is outside
            the folder, or ``skip_unreadable`` is set without ``test_mode``.
        ValueError: If ``captions`` is neither ``'all'`` nor ``'random'``.
    """

    METAINFO = dict(dataset_type='text_video')

    def __init__(
        self,
        ann_file: str = '',
        captions: Literal['all', 'random'] = 'all',
        skip_missing: bool = False,
        skip_unreadable: bool = False,
        allow_outside: bool = False,
        data_prefix: dict = dict(video='videos'),  # noqa: B006
        **kwargs: object,
    ) -> None:
        if captions not in ('all', 'random'):
            raise ValueError(
                f"captions must be 'all' or 'random', got {captions!r}"
            )
        if skip_unreadable and not kwargs.get('test_mode'):
            raise SetupError(
                'skip_unreadable=True needs test_mode=True; training replaces '
                'an unreadable video by another sample instead, counts it, '
                'and stops where they are more than max_share of '
                'mmtvr.UnreadableVideosHook'
            )
        self.captions = captions
        self.skip_missing = skip_missing
        self.skip_unreadable = skip_unreadable
        self._replaced = ReplacedSamples()
        self.allow_outside = allow_outside
        super().__init__(ann_file, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the annotation file, check the videos, list the samples.

        ``counts`` of the meta information has the numbers of ``videos`` and
        ``captions``, ``left_out`` describes what is left out,
        ``about`` is what the transforms report of how videos are read and,
        in test mode, what is asked and what can be reached.
        """
        self._metainfo['about'] = {
            name: value
            for transform in self.pipeline.transforms
            for name, value in getattr(transform, 'about', {}).items()
        }
        records = complete_names(
            read_annotations(self.ann_file),
            self.data_prefix['video'],
            self.ann_file,
        )
        for oddity in find_oddities(records):
            print_log(f'{self.ann_file}: {oddity}.', 'current')
        absent = self._find_missing(records)
        samples = [
            sample
            for video_id, record in enumerate(records)
            if record.file not in absent
            for sample in self._make_samples(video_id, record)
        ]
        if self.test_mode:
            samples = self._without_unreadable(samples)
        if not samples:
            raise SetupError(
                f'None of the videos of {self.ann_file} in '
                f'{self.data_prefix["video"]} can be used.'
            )
        self._metainfo['counts'] = dict(
            videos=len({sample['video_id'] for sample in samples}),
            captions=sum(
                1 if isinstance(sample['text'], str) else len(sample['text'])
                for sample in samples
            ),
        )
        captions = [text for record in records for text in record.captions]
        self._describe_left_out(len(records), len(captions), samples)
        if self.test_mode:
            self._metainfo['about'] |= self._describe_test(records, samples)
        self._pass_captions(captions)
        return samples

    def prepare_data(self, idx: int) -> object:
        """Send one sample through the pipeline; None if it is unreadable.

        Raises:
            SetupError: If one video after another is unreadable.
        """
        sample = self.get_data_info(idx)
        if not self.test_mode and self.captions == 'random':
            texts = sample['text']
            sample['text'] = texts[np.random.randint(len(texts))]
        packed = self.pipeline(sample)
        if not self.test_mode:
            self._replaced.account(self.pipeline.transforms, packed)
        return packed

    def make_fine_grained(self) -> dict:
        """Make partial captions and twins of the captions, by rules.

        See :func:`mmtvr.datasets.fine_grained.make_fine_grained`; needs the
        extra ``keywords``.
        """
        records = read_annotations(self.ann_file)
        return make_fine_grained(records, load_tagger('hanta'))

    def _make_samples(
        self, video_id: int, record: VideoCaptions
    ) -> list[dict]:
        path = Path(self.data_prefix['video']) / record.file
        # mmaction2's own loading transforms read the last two.
        video = dict(
            filename=str(path),
            video_id=video_id,
            modality='RGB',
            start_index=0,
        )
        if record.start is not None:
            video['start'] = record.start
        if record.end is not None:
            video['end'] = record.end
        if self.test_mode or self.captions == 'random':
            return [dict(video, text=list(record.captions))]
        return [dict(video, text=caption) for caption in record.captions]

    def _find_missing(self, records: Sequence[VideoCaptions]) -> set[str]:
        folder = Path(self.data_prefix['video'])
        if not folder.is_dir():
            raise SetupError(
                f'There is no folder of videos {folder} (looked for it from '
                f'{Path.cwd()}); {self.ann_file} names {len(records)} videos. '
                'Put the videos there or set data_root and data_prefix; '
                'tools/data/README.md says where each data set comes from.'
            )
        files = dict.fromkeys(record.file for record in records)
        if not self.allow_outside:
            refuse_path_escapes(folder, files, self.ann_file)
        # Path.is_file raises where a name is too long.
        missing = [file for file in files if not os.path.isfile(folder / file)]
        if not missing:
            return set()
        finding = (
            f'{len(missing)} of {len(files)} videos of {self.ann_file} are '
            f'not in {folder}: {name_some(missing, ", ")}'
        )
        if not self.skip_missing:
            raise SetupError(
                f'{finding}. Get the files, or set skip_missing=True in the '
                'dataset to go on without them.'
            )
        print_log(f'{finding}; left out.', 'current', logging.WARNING)
        return set(missing)

    def _without_unreadable(self, samples: list[dict]) -> list[dict]:
        found = find_unreadable(
            samples, self.pipeline.transforms, self.ann_file
        )
        if not found:
            return samples
        lines = [
            f'\n  {samples[place]["filename"]}: {reason}'
            for place, reason in found.items()
        ]
        finding = (
            f'{len(found)} of {len(samples)} videos of {self.ann_file} cannot '
            f'be read:{name_some(lines, "")}\n'
        )
        if not self.skip_unreadable:
            raise SetupError(
                f'{finding}Fix the files (python tools/data/verify.py CONFIG '
                'lists all), or set skip_unreadable=True in the dataset to go '
                'on without them.'
            )
        print_log(f'{finding}They are left out.', 'current', logging.WARNING)
        return [s for place, s in enumerate(samples) if place not in found]

    def _describe_left_out(
        self, videos: int, captions: int, samples: Sequence[dict]
    ) -> None:
        kept_ids = {s['video_id'] for s in samples}
        left_out = [i for i in range(videos) if i not in kept_ids]
        if not left_out:
            return
        kept = self._metainfo['counts']['captions']
        self._metainfo['left_out_ids'] = left_out
        self._metainfo['left_out'] = (
            f'{len(left_out):,} of {videos:,} videos and {captions - kept:,} '
            f'of {captions:,} captions, whose files are missing or unreadable'
        )

    def _describe_test(
        self, records: Sequence[VideoCaptions], samples: Sequence[dict]
    ) -> dict[str, str]:
        """Facts of this data for a report: who asks, what can be reached."""
        kept = {sample['video_id'] for sample in samples}
        videos = [records[video_id] for video_id in sorted(kept)]
        path = Path(self.ann_file)
        facts = describe_captions(videos)
        name = f'{path.parent.name}/{path.stem}'
        return {**facts, 'data': f'{name}: {facts["data"]}'}

    def _pass_captions(self, captions: Sequence[str]) -> None:
        for transform in self.pipeline.transforms:
            if hasattr(transform, 'fit_captions'):
                transform.fit_captions(captions, self.ann_file)
