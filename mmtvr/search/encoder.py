"""From texts and video files to features, by the model of a config."""

import multiprocessing
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmtvr.checkpoints import read_checkpoint
from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation, find_piece_names
from mmtvr.processes import EndWithParent
from mmtvr.registry import TRANSFORMS
from mmtvr.search.identity import describe_model
from mmtvr.search.video_dataset import ReadVideo, VideosToRead
from mmtvr.search.video_files import FoundVideo
from mmtvr.structures import TokenFeatures

META_KEYS = ('text', 'frame_inds', 'frame_times', 'filename')


class Pipelines(NamedTuple):
    """What texts and videos go through.

    Attributes:
        text: From ``dict(text=[...])`` to packed word pieces.
        video: From ``dict(filename=...)`` to packed frames.
    """

    text: Compose
    video: Compose


def find_test_pipeline(cfg: Config) -> list[dict]:
    """Find the transforms of the test set.

    Args:
        cfg: The whole config.

    Returns:
        Configs of the transforms.

    Raises:
        SetupError: The config has no test set with a pipeline.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset:
        inner = dataset.get('dataset') or dataset.get('datasets')
        if not inner:
            raise SetupError(
                'the config has no test_dataloader.dataset.pipeline, which '
                'says how texts and videos are read'
            )
        dataset = inner[0] if isinstance(inner, list | tuple) else inner
    return [dict(each) for each in dataset['pipeline']]


def split_pipeline(transforms: list[dict]) -> Pipelines:
    """Build a pipeline once for texts and once for videos.

    A transform whose class has the attribute ``reads = 'text'`` goes with
    the texts, one with ``reads = 'both'`` with both, any other one with the
    videos.

    Args:
        transforms: Configs of the transforms.

    Returns:
        Both pipelines.

    Raises:
        SetupError: No transform reads text, or none packs.
    """
    built = [TRANSFORMS.build(_keep_meta(each)) for each in transforms]
    reads = [getattr(each, 'reads', 'video') for each in built]
    if 'text' not in reads or 'both' not in reads:
        raise SetupError(
            'the test pipeline needs a transform of texts (such as '
            'mmtvr.TokenizeText, or yours with a class attribute '
            "reads = 'text') and mmtvr.PackTextVideo, got "
            f'{[each["type"] for each in transforms]}'
        )
    pairs = list(zip(built, reads, strict=True))
    return Pipelines(
        Compose([each for each, kind in pairs if kind != 'video']),
        Compose([each for each, kind in pairs if kind != 'text']),
    )


def _keep_meta(transform: dict[str, Any]) -> dict[str, Any]:
    if str(transform['type']).rpartition('.')[2] != 'PackTextVideo':
        return transform
    return {**transform, 'meta_keys': META_KEYS}


PARTIAL = 'partial_loss.'
ONLY_TRAINING = ('contrastive_loss.', 'logit_scale.', PARTIAL)
PRETRAINED = (
    *('frame_encoder.clip.', 'text_encoder.clip.'),
    *('frame_encoder.model.', 'text_encoder.model.'),
    *ONLY_TRAINING,
)


def load_model(cfg: Config, checkpoint: Path | None) -> nn.Module:
    """Build a model and load its weights.

    Parts that only train need none; TPM-CL without its weights is left out,
    as what an untrained network takes for important explains nothing.

    Args:
        cfg: The whole config.
        checkpoint: Weights; None for the pretrained encoders as they are.

    Returns:
        The model.

    Raises:
        SetupError: The checkpoint is of another model, or there is none and
            the model has parts that only training makes useful.
    """
    model = MODELS.build(cfg.model)
    untrained = [name for name, _ in model.named_parameters()]
    if checkpoint is not None:
        untrained = _load_weights(model, checkpoint)
    if any(name.startswith(PARTIAL) for name in untrained):
        model.partial_loss = None
    for name in untrained if checkpoint is None else ():
        if not name.startswith(PRETRAINED):
            raise SetupError(
                f'{name} of the model has no weights before it is trained: '
                'give a checkpoint, or a config of pretrained encoders and '
                'a head without parameters, such as configs/clip4clip_*.py'
            )
    return model


def _load_weights(model: nn.Module, checkpoint: Path) -> list[str]:
    """Load a checkpoint.

    Returns:
        Names of what it lacks, none of which encodes.
    """
    weights = {
        name.removeprefix('module.'): value
        for name, value in read_checkpoint(checkpoint)['state_dict'].items()
    }
    try:
        missing, _ = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise SetupError(f'{checkpoint} does not fit: {error}') from error
    needed = [n for n in missing if not n.startswith(ONLY_TRAINING)]
    if needed:
        raise SetupError(
            f'{checkpoint} lacks {len(needed)} weights of the model of the '
            f'config, the first is {needed[0]}: it is of another model'
        )
    return missing


WORD = re.compile(r"\w+(?:['’-]\w+)*")


class QueryWord(NamedTuple):
    """A word of a text.

    Attributes:
        text: As it stands in the query.
        pieces: Positions of its pieces among the real tokens of the text.
        weight: Its textual attention, the mean over its pieces.
        is_key: Whether it is a key word. Where the pipeline has no
            ``TagKeyWords``, every word is.
    """

    text: str
    pieces: tuple[int, ...]
    weight: float
    is_key: bool


def find_words(transforms: Sequence[Any], text: str) -> list[QueryWord]:
    """Find the words of a text that have a word piece.

    Args:
        transforms: The transforms of texts, one of which names the place of
            each piece with ``find_spans(text)``.
        text: The query.

    Returns:
        Its words, in order; what was cut off is not among them.

    Raises:
        SetupError: No transform has ``find_spans``.
    """
    sample: dict[str, Any] = dict(text=[text])
    for transform in transforms:
        sample = transform(sample)
        if hasattr(transform, 'find_spans'):
            text = sample['text'][0]
            return _to_words(text, transform.find_spans(text), sample)
    raise SetupError(
        'no transform of texts has find_spans(text), as mmtvr.TokenizeText '
        'does: words cannot be told'
    )


def _to_words(
    text: str, spans: Sequence[tuple[int, int]], sample: dict[str, Any]
) -> list[QueryWord]:
    keys = sample.get('keyword_spans')
    weights = None
    if 'token_weight' in sample:
        weights = sample['token_weight'][0][sample['token_mask'][0]]
    words = []
    for match in WORD.finditer(text):
        pieces = tuple(
            place for place, span in enumerate(spans) if _meet(span, match)
        )
        if pieces:
            is_key = keys is None or any(_meet(k, match) for k in keys[0])
            weight = 1.0 if weights is None else weights[list(pieces)].mean()
            words.append(QueryWord(match[0], pieces, float(weight), is_key))
    return words


def _meet(span: tuple[int, int], match: re.Match) -> bool:
    start, end = span
    return start < match.end() and end > match.start() and start < end


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
