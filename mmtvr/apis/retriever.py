"""A trained retriever to hand over: load it, encode, compare, save it."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData, ModelHubMixin
from mmengine.config import Config
from torch import Tensor
from tqdm import tqdm

from mmtvr import __version__
from mmtvr.apis.searcher import PathLike, open_encoder
from mmtvr.checkpoints import WEIGHTS
from mmtvr.errors import SetupError
from mmtvr.pretrained import fetch_repository
from mmtvr.search.calibration import find_calibration, write_calibration
from mmtvr.search.encoder import (
    RetrievalEncoder,
    VideoFeatures,
    find_test_pipeline,
    hash_weights,
)
from mmtvr.search.model_folder import (
    FILES,
    read_model_folder,
    write_model_folder,
)
from mmtvr.search.query import to_features
from mmtvr.search.stores.base import StoredVideos, require_at_least
from mmtvr.search.video_files import FoundVideo, unreadable_query
from mmtvr.structures import TokenFeatures, concatenate

__all__ = ['Retriever']

#: Texts and videos that the head compares at a time.
BLOCK = 256
CARD = """# {name}

A text-video retriever of [mmtvr](https://pypi.org/project/mmtvr/): {method}.
{description}
## Use

```python
from mmtvr.apis import Retriever

retriever = Retriever.from_pretrained('path/to/this/folder')
text = retriever.encode_text(['a red circle rising'])
video = retriever.encode_video(['clip.mp4'])
print(retriever.similarity(text, video))
```

Loading executes nothing in the folder: weights are safetensors, settings JSON.

## Reading

| | |
|---|---|
{reading}

## Training data

{data}

## Results

{results}

## Protocol

{protocol}

## Licence

{licence}
"""


class Retriever(
    ModelHubMixin,
    library_name='mmtvr',
    tags=['text-video-retrieval', 'video'],
):
    """A text-video retriever with its tokenizer and its video reading.

    Args:
        encoder: The model with its pipeline.
        dtype: ``'float32'``, or ``'bfloat16'`` or ``'float16'`` to encode
            under autocast; the weights stay float32.
        base_models: Hub repositories that its towers came from.

    Examples:
        >>> retriever = Retriever.from_config(config, checkpoint)
        >>> retriever.save_pretrained(folder)
        >>> same = Retriever.from_pretrained(folder)
        >>> text = same.encode_text(['a red circle rising', 'a blue star'])
        >>> video = same.encode_video(paths)
        >>> same.similarity(text, video).shape
        torch.Size([2, 6])
    """

    def __init__(
        self,
        encoder: RetrievalEncoder,
        dtype: str = 'float32',
        base_models: Sequence[str] = (),
    ) -> None:
        if dtype not in ('float32', 'bfloat16', 'float16'):
            raise SetupError(
                f"dtype must be 'float32', 'bfloat16' or 'float16', got "
                f'{dtype!r}'
            )
        self.encoder = encoder
        self.dtype = getattr(torch, dtype)
        self.base_models = list(base_models)

    @classmethod
    def from_config(
        cls,
        config: PathLike | Config,
        checkpoint: PathLike | None = None,
        *,
        device: str | None = None,
        dtype: str = 'float32',
    ) -> 'Retriever':
        """Open a config with a checkpoint.

        Args:
            config: A config file, which is executed, or a loaded config.
            checkpoint: A checkpoint or the work folder of a run; None for
                pretrained encoders as they are.
            device: Where to compute; None for a GPU if there is one.
            dtype: See :class:`Retriever`.

        Raises:
            SetupError: Something is missing; says how to get it.
        """
        return cls(open_encoder(config, checkpoint, device), dtype)

    # No token of the environment, no mirror: fewer options than the mixin has.
    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: PathLike,
        *,
        device: str | None = None,
        dtype: str = 'float32',
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: PathLike | None = None,
        local_files_only: bool = False,
    ) -> 'Retriever':
        """Open a folder of :meth:`save_pretrained`; no code in it is run.

        Args:
            pretrained_model_name_or_path: The folder, or the name of a
                repository of the Hugging Face hub.
            device: Where to compute; None for a GPU if there is one.
            dtype: See :class:`Retriever`.
            revision: Branch, tag or commit of the repository.
            token: For a private one.
            cache_dir: Where files of the hub are kept.
            local_files_only: Use what is kept there, ask no hub.

        Raises:
            SetupError: There is no such folder or repository, a file is
                missing, or the settings name a type that is no component.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            folder = fetch_repository(
                os.fspath(pretrained_model_name_or_path),
                WEIGHTS,
                FILES,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
            )
        base_models = read_model_folder(folder).base_models
        return cls(open_encoder(folder, None, device), dtype, base_models)

    @overload
    def encode_text(
        self,
        texts: Sequence[str],
        *,
        pooled: Literal[False] = ...,
        batch_size: int = ...,
        progress: bool = ...,
    ) -> TokenFeatures: ...

    @overload
    def encode_text(
        self,
        texts: Sequence[str],
        *,
        pooled: Literal[True],
        batch_size: int = ...,
        progress: bool = ...,
    ) -> Tensor: ...

    def encode_text(
        self,
        texts: Sequence[str],
        *,
        pooled: bool = False,
        batch_size: int = 64,
        progress: bool = False,
    ) -> TokenFeatures | Tensor:
        """Encode texts.

        Args:
            texts: B of them, at least one, none empty.
            pooled: Only the vectors of whole texts.
            batch_size: Texts at a time.
            progress: Whether to show a bar.

        Returns:
            Features on the CPU, float32; with ``pooled`` (B, D) unit vectors.

        Raises:
            SetupError: There is no text, or one is empty.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        require_at_least(1, texts=len(texts), batch_size=batch_size)
        parts = []
        starts = range(0, len(texts), batch_size)
        for start in tqdm(starts, 'texts', disable=not progress):
            with self._autocast():
                features = self.encoder.extract_texts(
                    texts[start : start + batch_size]
                )
            parts.append(_to_cpu(features))
        if pooled:
            return torch.cat([part.pooled for part in parts])
        return concatenate(parts)

    @overload
    def encode_video(
        self,
        videos: PathLike | Sequence[PathLike],
        *,
        pooled: Literal[False] = ...,
        batch_size: int | None = ...,
        workers: int = ...,
        progress: bool = ...,
    ) -> TokenFeatures: ...

    @overload
    def encode_video(
        self,
        videos: PathLike | Sequence[PathLike],
        *,
        pooled: Literal[True],
        batch_size: int | None = ...,
        workers: int = ...,
        progress: bool = ...,
    ) -> Tensor: ...

    def encode_video(
        self,
        videos: PathLike | Sequence[PathLike],
        *,
        pooled: bool = False,
        batch_size: int | None = None,
        workers: int = 0,
        progress: bool = False,
    ) -> TokenFeatures | Tensor:
        """Read and encode video files.

        Args:
            videos: Paths of V files, at least one, or one path.
            pooled: Only the vectors of whole videos.
            batch_size: Videos at a time; that of the test if None.
            workers: Processes that read them; 0 for this one.
            progress: Whether to show a bar.

        Returns:
            Features on the CPU, float32; with ``pooled`` (V, D) unit vectors.

        Raises:
            SetupError: There is no video, or one cannot be read.
        """
        if isinstance(videos, str | os.PathLike):
            videos = [videos]
        paths = [os.fspath(each) for each in videos]
        batch_size = batch_size or self.encoder.batch_size
        require_at_least(1, videos=len(paths), batch_size=batch_size)
        found = [FoundVideo(os.path.abspath(path)) for path in paths]
        features: list[VideoFeatures] = []
        with self._autocast():
            encoded = self.encoder.encode_videos(
                found, workers, batch_size=batch_size
            )
            bar = tqdm(encoded, 'videos', len(found), disable=not progress)
            for path, each in zip(paths, bar, strict=True):
                if each.features is None:
                    raise unreadable_query(path, each.error or '')
                features.append(each.features)
        if pooled:
            return torch.from_numpy(np.stack([f.pooled for f in features]))
        return to_features(
            StoredVideos(
                paths,
                np.stack([each.pooled for each in features]),
                [each.tokens for each in features],
                [each.times for each in features],
            )
        )

    def similarity(
        self,
        text: TokenFeatures | Sequence[str],
        video: TokenFeatures | Sequence[PathLike],
    ) -> Tensor:
        """Compare B texts with V videos by the head of the model.

        Args:
            text: Features, or texts to encode.
            video: Features, or paths of files to encode.

        Returns:
            Shape (B, V), float32, on the CPU; rows are texts.
        """
        if not isinstance(text, TokenFeatures):
            text = self.encode_text(text)
        if not isinstance(video, TokenFeatures):
            video = self.encode_video(video)
        columns = range(0, len(video.mask), BLOCK)
        return torch.cat(
            [
                torch.cat(
                    [
                        self.encoder.score(
                            text.select(slice(row, row + BLOCK)),
                            video.select(slice(column, column + BLOCK)),
                        )
                        for column in columns
                    ],
                    dim=1,
                )
                for row in range(0, len(text.mask), BLOCK)
            ]
        )

    def _autocast(self) -> AbstractContextManager:
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.encoder.device.type, self.dtype)

    def _save_pretrained(self, save_directory: Path) -> None:
        encoder = self.encoder
        # What is built names the files that it was built from.
        _ = encoder.pipelines.text, encoder.pipelines.video
        write_model_folder(
            save_directory,
            encoder.info['name'],
            encoder.config.model.to_dict(),
            find_test_pipeline(encoder.config),
            encoder.batch_size,
            encoder.model.state_dict(),
            self.base_models,
        )
        content = json.loads((save_directory / 'config.json').read_text())
        self.base_models = content['base_models']
        known = find_calibration(encoder.info, encoder.checkpoint)
        if known is not None:
            # The same weights, in a file with another hash.
            weights = save_directory / WEIGHTS
            known = replace(known, checkpoint=hash_weights(weights))
            write_calibration(known, weights)

    def generate_model_card(
        self,
        *,
        description: str = '',
        data: str = '',
        protocol: str = '',
        results: Mapping[str, float] | None = None,
        license: str = '',
    ) -> ModelCard:
        """Write the model card, ``model_card_kwargs`` of ``save_pretrained``.

        Args:
            description: What the model is for, and what it is not for.
            data: What it was trained on, and the licence of that.
            protocol: What it was tested on, and how.
            results: Metrics by name, such as ``{'t2v R@1': 44.1}``.
            license: Of the weights, as the hub names it: ``'apache-2.0'``.
        """
        info = self.encoder.info
        name = info['name']
        about = ModelCardData(
            library_name='mmtvr',
            license=license or None,
            base_model=self.base_models or None,
            tags=['text-video-retrieval', 'video'],
            model_name=name if results else None,
            eval_results=[
                EvalResult(
                    task_type='text-video-retrieval',
                    dataset_type=(protocol or 'not stated').split()[0],
                    dataset_name=protocol or 'not stated',
                    metric_type=metric,
                    metric_value=value,
                )
                for metric, value in (results or {}).items()
            ]
            or None,
        )
        rows = ''.join(f'| {k} | {v} |\n' for k, v in (results or {}).items())
        bases = ', '.join(self.base_models)
        text = CARD.format(
            name=name,
            method=_describe_parts(self.encoder.config.model),
            description=f'\n{description}\n' if description else '',
            reading=self._describe_reading(),
            data=data or 'Not stated.',
            results=f'| metric | value |\n|---|---|\n{rows}'.strip()
            if rows
            else 'Not stated.',
            protocol=protocol or 'Not stated.',
            licence=(license or 'Not stated.')
            + (f' The towers came from {bases}.' if bases else ''),
        )
        return ModelCard(f'---\n{about.to_yaml()}\n---\n\n{text}')

    def _describe_reading(self) -> str:
        info, model = self.encoder.info, self.encoder.model
        count = sum(each.numel() for each in model.parameters())
        texts = self.encoder.pipelines.text.transforms
        words = [getattr(each, 'max_words', None) for each in texts]
        rows = {
            'videos': info['reading'],
            'word pieces of a text': max(filter(None, words), default='?'),
            'width of features': self.encoder.width,
            'parameters': f'{count:,}',
            'mmtvr': __version__,
        }
        return '\n'.join(f'| {k} | {v} |' for k, v in rows.items())


def _to_cpu(features: TokenFeatures) -> TokenFeatures:
    features = features.map(
        lambda each: each.float() if each.is_floating_point() else each
    )
    return features.to('cpu')


def _describe_parts(model: Mapping[str, Any]) -> str:
    """Name the parts of a model by their registered names."""
    parts = ('text_encoder', 'frame_encoder', 'temporal', 'head')
    kinds = [
        str(model[part]['type']).rpartition('.')[2]
        for part in parts
        if model.get(part)
    ]
    return ', '.join(f'`{kind}`' for kind in kinds)
