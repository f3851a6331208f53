"""From texts and video files to features, by the model of a config."""

import multiprocessing
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import DataLoader

from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation, find_piece_names
from mmtvr.processes import EndWithParent
from mmtvr.search.identity import describe_model
from mmtvr.search.pipelines import find_test_pipeline, split_pipeline
from mmtvr.search.query_words import QueryWord, find_words
from mmtvr.search.trained_model import load_model
from mmtvr.search.video_dataset import ReadVideo, VideosToRead
from mmtvr.search.video_files import FoundVideo
from mmtvr.structures import TokenFeatures

PARTS = 4
METHODS = multiprocessing.get_all_start_methods()
START_METHOD = 'forkserver' if 'forkserver' in METHODS else 'spawn'


class EncodedTexts(NamedTuple):
    """Queries.

    Attributes:
        features: Features of B texts, on the device of the model.
        words: The words of each text.
    """

    features: TokenFeatures
    words: list[list[QueryWord]]


class VideoFeatures(NamedTuple):
    """What a video was encoded to.

    Attributes:
        pooled: Shape (D,), float32, unit vector.
        tokens: Shape (T, D), float32.
        times: Shape (T,), float32, seconds from the first frame of the file.
    """

    pooled: np.ndarray
    tokens: np.ndarray
    times: np.ndarray


class EncodedVideo(NamedTuple):
    """A video that was read, or why it was not.

    Attributes:
        content: Names its features; empty if the file cannot be opened.
        features: None if they are known already, or it is unreadable.
        error: Why it cannot be read.
    """

    content: str
    features: VideoFeatures | None = None
    error: str | None = None


class RetrievalEncoder:
    """The model of a config with its weights and its test pipeline.

    Args:
        cfg: The whole config.
        checkpoint: Weights; None for the pretrained encoders as they are.
        device: Where to compute; None for a GPU if there is one.

    Raises:
        SetupError: Something is missing, or without a checkpoint the model
            has parts that only training makes useful.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: Path | None,
        device: torch.device | str | None = None,
    ) -> None:
        pipeline = find_test_pipeline(cfg)
        self.about = describe_model(cfg, pipeline, checkpoint)
        self.pipelines = split_pipeline(pipeline)
        loader = cfg.get('test_dataloader') or {}
        self.batch_size = loader.get('batch_size', 16)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device)
        self.model = load_model(cfg, checkpoint).to(self.device).eval()

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.encode_texts(['a']).features.pooled.shape[1]

    @property
    def default_parts(self) -> int:
        """Vectors of a video that the first stage needs with this head."""
        compares = getattr(self.model.head, 'compares', 'tokens')
        return 1 if compares == 'pooled' else PARTS

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode queries.

        Args:
            texts: At least one; none of them empty.

        Returns:
            Their features and words.

        Raises:
            SetupError: A text is empty.
        """
        for text in texts:
            if not text.strip():
                raise SetupError('the query is empty: give a few words')
        packed = self.pipelines.text(dict(text=list(texts)))
        inputs = self._to_device([packed])
        features = self.model.extract_text(inputs)
        transforms = self.pipelines.text.transforms
        words = [find_words(transforms, text) for text in texts]
        return EncodedTexts(features, words)

    def encode_videos(
        self,
        videos: Sequence[FoundVideo],
        workers: int = 0,
        known: Set[str] = frozenset(),
    ) -> Iterator[EncodedVideo]:
        """Encode videos, those of a batch together.

        Args:
            videos: The videos.
            workers: Processes that read them; 0 for this one.
            known: Contents that are not encoded again.

        Yields:
            One for each video, in their order.
        """
        loader = DataLoader(
            VideosToRead(videos, self.pipelines.video, known),
            self.batch_size,
            num_workers=workers,
            collate_fn=list,
            worker_init_fn=EndWithParent(),
            # LanceDB has threads, which a fork does not survive safely.
            multiprocessing_context=START_METHOD if workers else None,
        )
        for batch in loader:
            yield from self._encode_batch(batch)

    @torch.no_grad()
    def score(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare texts with videos by the head.

        Args:
            text: B texts.
            video: V videos.

        Returns:
            Shape (B, V), float32, CPU.
        """
        text, video = text.to(self.device), video.to(self.device)
        return self.model.similarity(text, video).float().cpu()

    @torch.no_grad()
    def explain(self, text: str, video: TokenFeatures) -> Explanation:
        """Say why a text and a video have their score.

        Args:
            text: The text.
            video: Features of one video.

        Returns:
            What the model tells.
        """
        query = self.encode_texts([text]).features
        names = find_piece_names(self.pipelines.text)(text)
        return self.model.explain(query, video.to(self.device), names)

    @torch.no_grad()
    def _encode_batch(self, batch: list[ReadVideo]) -> Iterator[EncodedVideo]:
        packed = [read.packed for read in batch if read.packed is not None]
        encoded: Iterator[VideoFeatures] = iter(())
        if packed:
            features = self.model.extract_video(self._to_device(packed))
            encoded = _to_videos(features, packed)
        for read in batch:
            features = None if read.packed is None else next(encoded)
            yield EncodedVideo(read.content, features, read.error)

    def _to_device(self, packed: list[dict]) -> dict[str, Tensor]:
        batch = self.model.data_preprocessor(pseudo_collate(packed), False)
        return batch['inputs']


def _to_videos(
    features: TokenFeatures, samples: Sequence[dict[str, Any]]
) -> Iterator[VideoFeatures]:
    tokens = features.tokens.float().cpu().numpy()
    pooled = features.pooled.float().cpu().numpy()
    mask = features.mask.cpu().numpy()
    for row, sample in enumerate(samples):
        times = np.asarray(
            sample['data_samples'].get('frame_times'), np.float32
        )
        # A 3D backbone makes fewer tokens than it reads frames.
        at = np.linspace(0, len(times) - 1, len(mask[row]))
        times = np.interp(at, np.arange(len(times)), times)
        real = mask[row]
        yield VideoFeatures(
            pooled[row], tokens[row][real], times[real].astype(np.float32)
        )
