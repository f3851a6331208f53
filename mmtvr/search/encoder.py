"""The model of a config: what it encodes, and what identifies it."""

import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn

from mmtvr.checkpoints import fit_weights, guard_loading, read_checkpoint
from mmtvr.datasets.transforms.packing import TEXT_KEYS, find_side
from mmtvr.errors import SetupError, first_line
from mmtvr.explanation import Explanation, find_piece_names
from mmtvr.files import FileStamp, hash_file
from mmtvr.models.clip_text import CLIPTextModel, build_clip_text
from mmtvr.registry import MODELS, TRANSFORMS
from mmtvr.search.model_folder import place_files
from mmtvr.search.stores.base import QueryVectors
from mmtvr.structures import TokenFeatures

if TYPE_CHECKING:
    from mmtvr.datasets.transforms.text import TextReading
    from mmtvr.search.video_dataset import ReadVideo
    from mmtvr.search.video_files import FoundVideo

#: Of what an index says about its model.
FORMAT = 1
#: Of one whose long videos have windows, which older versions do not know.
WINDOWED_FORMAT = 2
DIGEST_BYTES = 12
# What training needs and an encoded video does not depend on.
NOT_ENCODING = (
    *('contrastive_loss', 'partial_loss', 'cached_contrastive'),
    'frozen_encoders',
)
HASHED = ('model', 'pipeline', 'checkpoint')
PARTS = 4
META_KEYS = ('text', 'frame_inds', 'frame_times', 'duration', 'filename')


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


class EncodedTexts(NamedTuple):
    """Features of B texts, on the device of the model, and their words."""

    features: TokenFeatures
    words: list[list[QueryWord]]


class VideoFeatures(NamedTuple):
    """What a video was encoded to.

    Attributes:
        pooled: Shape (D,), float32, unit vector.
        tokens: Shape (T, D), float32; (T * R, D) if a frame has R regions.
        times: Seconds of each token from the first frame of the file,
            float32.
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
        seconds: How long the video, or the span of it, is; 0 if it was not
            read.
    """

    content: str
    features: VideoFeatures | None = None
    error: str | None = None
    seconds: float = 0.0


def choose_device(name: torch.device | str | None) -> torch.device:
    """Check that this machine has a device.

    Args:
        name: Such as ``cpu``, ``cuda:1`` or ``mps``; None for a GPU if there
            is one.

    Raises:
        SetupError: It is no device of PyTorch, or not of this machine.
    """
    if name is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        count = torch.cuda.device_count()
        here = ['cpu', *(f'cuda:{number}' for number in range(count))]
        raise SetupError(
            f'the device {str(name)!r} cannot be used '
            f'({first_line(error)}); this machine has {", ".join(here)}'
        ) from error
    return device


class RetrievalEncoder:
    """The model of a config with its weights and its test pipeline.

    Args:
        cfg: The whole config.
        checkpoint: Weights; None for the pretrained encoders as they are. A
            config of :func:`mmtvr.search.model_folder.read_model_folder`
            takes the files of its towers from beside them.
        device: See :func:`choose_device`.
        text_only: Load what encodes texts and compares them, and the rest
            when a video is encoded or explained.

    Attributes:
        config: The whole config, with the files of its towers.
        info: What an index keeps about the model, see
            :func:`describe_model`.
        pipelines: What texts and videos go through.
        checkpoint: The weights; None for the pretrained encoders.

    Raises:
        SetupError: Something is missing, or without a checkpoint the model
            has parts that only training makes useful.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: Path | None,
        device: torch.device | str | None = None,
        text_only: bool = False,
    ) -> None:
        pipeline = find_test_pipeline(cfg)
        # Of settings that say the same wherever the folder is.
        self.info = describe_model(cfg, pipeline, checkpoint)
        if checkpoint is not None:
            cfg = Config(place_files(cfg.to_dict(), checkpoint.parent))
            pipeline = find_test_pipeline(cfg)
        self.pipelines = Pipelines(pipeline)
        loader = cfg.get('test_dataloader') or {}
        self.batch_size = loader.get('batch_size', 16)
        self.device = choose_device(device)
        self.config, self.checkpoint = cfg, checkpoint
        self._text_model = self._load(text_only=True) if text_only else None
        if not text_only:
            _ = self.model

    @cached_property
    def model(self) -> nn.Module:
        """The whole model, without its contrastive loss."""
        model = self._load()
        self._text_model = model
        return model

    def _load(self, text_only: bool = False) -> nn.Module:
        model = None
        if text_only and self.checkpoint is not None:
            model = build_clip_text(
                self.config.model, self.pipelines.tokenize_options
            )
            if model is not None:
                _load_weights(model, self.checkpoint)
        if model is None:
            model = load_model(self.config, self.checkpoint, text_only)
        return model.to(self.device).eval()

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.encode_texts(['a']).features.pooled.shape[1]

    @property
    def tokens_per_frame(self) -> int:
        """How many tokens in a row are of one frame, its regions."""
        encoder = self.config.model.get('frame_encoder') or {}
        return math.prod(encoder.get('regions') or (1,))

    @property
    def default_parts(self) -> int:
        """Vectors of a video that the first stage needs with this head."""
        return 1 if self.compares == 'pooled' else PARTS

    @property
    def compares(self) -> str:
        """What the head compares, ``'tokens'`` or ``'pooled'`` vectors."""
        return getattr(self._text_model.head, 'compares', 'tokens')

    def _sentence_shares(self, features: TokenFeatures) -> list[float]:
        head = self._text_model.head
        if not hasattr(head, 'level_shares'):
            return [0.5] * len(features.pooled)
        sentence = [level == 'sentence' for level in head.levels]
        with torch.inference_mode():
            return head.level_shares(features)[:, sentence].sum(1).tolist()

    def query_vectors(self, texts: EncodedTexts) -> list[QueryVectors]:
        """What the first stage is asked with, for each of B texts.

        What the head compares: no words where it compares pooled vectors, and
        no sentence where its ``level_shares`` say that words alone count.
        All real tokens are words, those of the beginning and the end too.
        """
        features = texts.features.to('cpu')
        shares = self._sentence_shares(texts.features)
        queries = []
        for row, mask in enumerate(features.mask):
            real = mask & (self.compares != 'pooled')
            weights = np.ones(int(real.sum()), np.float32)
            if features.weight is not None:
                weights = features.weight[row][real].float().numpy()
            total = max(weights.sum(), np.finfo(np.float32).tiny)
            queries.append(
                QueryVectors(
                    features.pooled[row].float().numpy(),
                    features.tokens[row][real].float().numpy(),
                    weights / total,
                    shares[row],
                )
            )
        return queries

    @property
    def score_range(self) -> tuple[float, float]:
        """The lowest and the highest score that the head can give."""
        unknown = (-math.inf, math.inf)
        return getattr(self._text_model.head, 'score_range', unknown)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """Encode queries, at least one.

        Raises:
            SetupError: A text is empty.
        """
        features = self.extract_texts(texts)
        transforms = self.pipelines.words
        words = []
        for text in texts:
            # What it does not know is seen in no frame.
            unknown = self.read_text(text).unknown
            words.append(
                [
                    word._replace(
                        is_key=word.is_key and word.text not in unknown
                    )
                    for word in find_words(transforms, text)
                ]
            )
        return EncodedTexts(features, words)

    @torch.no_grad()
    def extract_texts(self, texts: Sequence[str]) -> TokenFeatures:
        """Features of texts, at least one, without their words.

        Raises:
            SetupError: A text is empty.
        """
        for text in texts:
            if not text.strip():
                raise SetupError('the query is empty: give a few words')
        sample = dict(text=list(texts))
        if isinstance(self._text_model, CLIPTextModel):
            for transform in self.pipelines.words:
                sample = transform(sample)
            inputs = {
                key: torch.from_numpy(sample[key]).to(self.device)
                for key in TEXT_KEYS
                if key in sample
            }
        else:
            packed = self.pipelines.text(sample)
            inputs = self._preprocess(self._text_model, [packed])
        return self._text_model.extract_text(inputs)

    def read_text(self, text: str) -> 'TextReading':
        """Find what of a query the model cannot read."""
        from mmtvr.datasets.transforms.text import TextReading

        sample: dict[str, Any] = dict(text=[text])
        for transform in self.pipelines.words:
            if hasattr(transform, 'read_caption'):
                return transform.read_caption(sample['text'][0])
            sample = transform(sample)
        return TextReading()

    def encode_videos(
        self,
        videos: Sequence['FoundVideo'],
        workers: int = 0,
        known: Set[str] = frozenset(),
        batch_size: int | None = None,
    ) -> Iterator[EncodedVideo]:
        """Encode videos, those of a batch together.

        Args:
            videos: The videos.
            workers: Processes that read them; 0 for this one.
            known: Contents that are not encoded again.
            batch_size: Videos of a batch; that of the test if None.

        Yields:
            One for each video, in their order. One that is read and that the
            model does not take, by its shape, has an error.

        Raises:
            SetupError: The model takes none of the videos of a batch, and has
                taken none before.
        """
        from mmtvr.search.video_dataset import VideosToRead, load_batches

        dataset = VideosToRead(videos, self.pipelines.video, known)
        places, fits = iter(videos), False
        batch_size = batch_size or self.batch_size
        for batch in load_batches(dataset, batch_size, workers):
            encoded = list(self._encode_batch(batch))
            named = [(next(places), each) for each in encoded]
            fits = fits or any(each.features for each in encoded)
            misfits = [
                (video.path, each.error)
                for read, (video, each) in zip(batch, named, strict=True)
                if read.packed is not None and each.error is not None
            ]
            if misfits and not fits:
                path, why = misfits[0]
                raise SetupError(
                    f'none of the first {len(misfits)} videos can be encoded, '
                    f'{path!r}: {why}. End the test pipeline of the config '
                    "with a resize and a crop, such as dict(type='mmaction."
                    "Resize', scale=(-1, N)) and dict(type='mmaction."
                    "CenterCrop', crop_size=N), N the size that the model "
                    'takes'
                )
            yield from encoded

    @torch.no_grad()
    def score(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B texts with V videos: (B, V), float32, on the CPU."""
        text, video = text.to(self.device), video.to(self.device)
        return self._text_model.similarity(text, video).float().cpu()

    @torch.no_grad()
    def explain(self, text: str, video: TokenFeatures) -> Explanation:
        """Say why a text and a video, features of one, have their score."""
        query = self.encode_texts([text]).features
        names = find_piece_names(self.pipelines.text)(text)
        return self.model.explain(query, video.to(self.device), names)

    @torch.no_grad()
    def _encode_batch(
        self, batch: list['ReadVideo']
    ) -> Iterator[EncodedVideo]:
        packed = [read.packed for read in batch if read.packed is not None]
        encoded = iter(self._encode_packed(packed))
        for read in batch:
            features, error = None, read.error
            if read.packed is not None:
                features, error = next(encoded)
            yield EncodedVideo(read.content, features, error, read.seconds)

    def _encode_packed(
        self, packed: list[dict]
    ) -> list[tuple[VideoFeatures | None, str | None]]:
        """Features of videos, or why the model does not take one."""
        if not packed:
            return []
        try:
            inputs = self._preprocess(self.model, packed)
            features = _to_videos(self.model.extract_video(inputs), packed)
            found = [(each, None) for each in features]
        except (SetupError, ValueError) as error:
            if len(packed) == 1:
                found = [(None, _describe_misfit(error, packed[0]))]
            else:
                found = [self._encode_packed([each])[0] for each in packed]
        return found

    @staticmethod
    def _preprocess(model: nn.Module, packed: list[dict]) -> dict[str, Tensor]:
        from mmengine.dataset import pseudo_collate

        return model.data_preprocessor(pseudo_collate(packed), False)['inputs']


def _describe_misfit(error: Exception, sample: dict[str, Any]) -> str:
    frames = tuple(sample['inputs']['frames'].shape)
    return f'the model does not take frames of shape {frames}: ' + first_line(
        error
    )


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
        real = mask[row]
        if len(real) > len(times):
            # All regions of a frame are at its time.
            times = times.repeat(len(real) // len(times))
        # A 3D backbone makes fewer tokens than it reads frames.
        at = np.linspace(0, len(times) - 1, len(real))
        times = np.interp(at, np.arange(len(times)), times)
        yield VideoFeatures(
            pooled[row], tokens[row][real], times[real].astype(np.float32)
        )


class Pipelines:
    """What texts and videos go through, each built when it is needed.

    A transform whose class has the attribute ``reads = 'text'`` goes with
    the texts, one with ``reads = 'both'`` with both, any other one with the
    videos.

    Args:
        transforms: Configs of the transforms.

    Raises:
        SetupError: No transform reads text, or none packs.
    """

    def __init__(self, transforms: list[dict]) -> None:
        reads = [find_side(each['type']) for each in transforms]
        if 'text' not in reads or 'both' not in reads:
            raise SetupError(
                'the test pipeline needs a transform of texts (such as '
                'mmtvr.TokenizeText, or yours with a class attribute '
                "reads = 'text') and mmtvr.PackTextVideo, got "
                f'{[each["type"] for each in transforms]}'
            )
        self._pairs = list(zip(transforms, reads, strict=True))

    @cached_property
    def words(self) -> list[Callable[[dict], dict]]:
        """Transforms from ``dict(text=[...])`` to word pieces."""
        chosen = [each for each, kind in self._pairs if kind == 'text']
        return [TRANSFORMS.build(each) for each in chosen]

    @cached_property
    def text(self) -> Compose:
        """From ``dict(text=[...])`` to packed word pieces."""
        return self._build('text')

    @property
    def tokenize_options(self) -> dict[str, Any]:
        """Settings of the transform that cuts texts into word pieces."""
        chosen = (each for each, kind in self._pairs if kind == 'text')
        return next((e for e in chosen if 'tokenizer' in e), {})

    @cached_property
    def video(self) -> Compose:
        """From ``dict(filename=...)`` to packed frames."""
        return self._build('video')

    def _build(self, side: str) -> Compose:
        chosen = [each for each, kind in self._pairs if kind in (side, 'both')]
        return Compose([TRANSFORMS.build(_keep_meta(each)) for each in chosen])


def _keep_meta(transform: dict[str, Any]) -> dict[str, Any]:
    if str(transform['type']).rpartition('.')[2] != 'PackTextVideo':
        return transform
    return {**transform, 'meta_keys': META_KEYS}


def find_test_pipeline(cfg: Config) -> list[dict]:
    """Find the configs of the transforms of the test set.

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


PARTIAL = 'partial_loss.'
ONLY_TRAINING = ('contrastive_loss.', 'logit_scale.', PARTIAL)
PRETRAINED = (
    *('frame_encoder.clip.', 'text_encoder.clip.'),
    *('frame_encoder.model.', 'text_encoder.model.'),
    *ONLY_TRAINING,
)


def load_model(
    cfg: Config, checkpoint: Path | None, text_only: bool = False
) -> nn.Module:
    """Build a model and load its weights.

    Parts that only train need none; TPM-CL without its weights is left out,
    as what an untrained network takes for important explains nothing. The
    contrastive loss is never built.

    Args:
        cfg: The whole config.
        checkpoint: Weights; None for the pretrained encoders as they are.
        text_only: Also leave out what encodes videos, and TPM-CL.

    Raises:
        SetupError: The checkpoint is of another model, or there is none and
            the model has parts that only training makes useful.
    """
    guard_loading()
    model = MODELS.build(_leave_out(cfg.model, text_only))
    untrained = [name for name, _ in model.named_parameters()]
    if checkpoint is not None:
        untrained = _load_weights(model, checkpoint)
    if any(name.startswith(PARTIAL) for name in untrained):
        model.partial_loss = None
    if checkpoint is None:
        require_pretrained(untrained)
    return model


def require_pretrained(names: Iterable[str]) -> None:
    """Refuse a model that only training makes useful.

    Args:
        names: Of its parameters.

    Raises:
        SetupError: One is neither of a pretrained encoder nor of a loss.
    """
    for name in names:
        if not name.startswith(PRETRAINED):
            raise SetupError(
                f'{name} of the model has no weights before it is trained: '
                'give a checkpoint, or a config of pretrained encoders and '
                'a head without parameters, such as configs/clip4clip_*.py'
            )


def _leave_out(model: dict[str, Any], text_only: bool) -> dict[str, Any]:
    if str(model['type']).rpartition('.')[2] != 'TextVideoRetriever':
        return model
    model = dict(model, contrastive_loss=nn.Identity())
    if text_only:
        model |= dict(
            frame_encoder=nn.Identity(), temporal=None, partial_loss=None
        )
    return model


def _load_weights(model: nn.Module, checkpoint: Path) -> list[str]:
    """Load a checkpoint.

    Returns:
        Names of what it lacks, none of which encodes.
    """
    found = read_checkpoint(checkpoint)['state_dict']
    fit = fit_weights(found, model.state_dict())
    model.load_state_dict(fit.weights, strict=False)
    missing = fit.missing
    if fit.mapping:
        print_log(fit.describe(checkpoint), 'current', logging.WARNING)
    needed = [n for n in missing if not n.startswith(ONLY_TRAINING)]
    if needed:
        raise SetupError(
            f'{checkpoint} lacks {len(needed)} weights of the model of the '
            f'config, or has them in another shape, the first is {needed[0]}: '
            'it is of another model'
        )
    return missing


WORD = re.compile(r"\w+(?:['’-]\w+)*")


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
        'does: where the words of a query are is not known'
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


def describe_model(
    cfg: Config, pipeline: list[dict], checkpoint: Path | None
) -> dict[str, Any]:
    """Say which model an index belongs to.

    Args:
        cfg: The whole config.
        pipeline: Its test pipeline.
        checkpoint: The weights; None for the pretrained encoders.

    Returns:
        Facts that can be written as JSON: hashes of what features depend on,
        and in words how videos are read.
    """
    model = {k: v for k, v in cfg.model.items() if k not in NOT_ENCODING}
    name = Path(cfg.filename).stem if cfg.filename else 'config'
    return dict(
        format=FORMAT,
        name=name,
        model=_hash_json(model),
        pipeline=_hash_json(pipeline),
        checkpoint=None if checkpoint is None else hash_weights(checkpoint),
        checkpoint_path=None
        if checkpoint is None
        else os.path.abspath(checkpoint),
        folder=os.getcwd(),
        reading=_describe_reading(pipeline),
        config=cfg.pretty_text,
    )


def hash_weights(path: Path) -> str:
    """Hash a checkpoint, once as long as it is as it was."""
    return _hash_stamped(os.path.abspath(path), FileStamp.of(os.stat(path)))


@cache
def _hash_stamped(path: str, stamp: FileStamp) -> str:
    return hash_file(path)


def find_weights(info: dict[str, Any], url: str) -> Path:
    """Find the checkpoint that an index names, also where both have moved.

    It is looked for where it was, and by the end of that path from the
    current folder, the folder in which the index was made and those around
    the index; the content decides.

    Args:
        info: Facts of the index.
        url: The index.

    Raises:
        SetupError: It is not there; says how to name it.
    """
    named = Path(info['checkpoint_path'])
    folders = [Path.cwd(), Path(info.get('folder', '.'))]
    if '://' not in url:
        folders += Path(url).absolute().parents
    parts = named.parts[1:] if named.is_absolute() else named.parts
    ends = [Path(*parts[first:]) for first in range(len(parts))]
    places = [named, *(folder / end for folder in folders for end in ends)]
    others = []
    for place in dict.fromkeys(places):
        if place.is_file():
            if hash_weights(place) == info['checkpoint']:
                return place
            others.append(str(place))
    found = f'; {others[0]} is another one' if others else ''
    raise SetupError(
        f'the checkpoint of the index {url} is no longer {named}{found}: say '
        'where it is with --checkpoint PATH'
    )


def check_model(found: dict[str, Any], ours: dict[str, Any], url: str) -> None:
    """Refuse an index that another model filled.

    Args:
        found: Facts of the index.
        ours: Facts of the model that asks.
        url: The index, for the message.

    Raises:
        SetupError: They differ in what features depend on.
    """
    if found.get('format') not in (FORMAT, WINDOWED_FORMAT):
        raise SetupError(
            f'the index {url} has format {found.get("format")}, this version '
            f'of mmtvr reads {FORMAT} and {WINDOWED_FORMAT}: index the videos '
            'again'
        )
    differ = [fact for fact in HASHED if found.get(fact) != ours[fact]]
    if differ:
        raise SetupError(
            f'the index {url} was filled by {_name_model(found)}, not by '
            f'{_name_model(ours)} (different: {", ".join(differ)}). Features '
            'of two models cannot be compared: go on with the first one, or '
            'index the videos with the second into another place.'
        )


def _name_model(info: dict[str, Any]) -> str:
    """Config and weights, each with a few digits of its hash."""
    if info.get('imported'):
        return f'imported features ({info["name"]})'
    weights = 'pretrained weights'
    if info['checkpoint']:
        path = info['checkpoint_path']
        weights = f'{path} ({info["checkpoint"][:8]})'
    return f'{info["name"]} ({info["model"][:8]}) with {weights}'


def _hash_json(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _describe_reading(pipeline: list[dict]) -> str:
    for transform in pipeline:
        kind = str(transform['type']).rpartition('.')[2]
        if kind.startswith('Load'):
            options = {k: v for k, v in transform.items() if k != 'type'}
            listed = ', '.join(f'{k}={v!r}' for k, v in options.items())
            return f'{kind}({listed})'
    return 'unknown'
