"""The text-video retriever: two encoders, a head and losses."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmtvr.distributed.gather import gather_features, gather_rows, world_size
from mmtvr.errors import SetupError
from mmtvr.explanation import Explanation, explain_pair
from mmtvr.models.frozen import (
    extract,
    freeze_tower,
    project,
    set_training,
)
from mmtvr.ops.removal import removable_words, remove_words
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures, concatenate

if TYPE_CHECKING:
    # A query imports no loss.
    from mmtvr.models.partial_order.order_loss import PartialMatches


def encode_in_chunks(
    encode: Callable[..., TokenFeatures], chunk: int, *inputs: Tensor | None
) -> TokenFeatures:
    """Encode some rows at a time, and again when their gradient is there.

    This is gradient caching (arXiv:2101.06983): features are computed without
    activations being kept, the loss over all of them gives their gradients,
    and each chunk is then encoded a second time, with its activations, for
    the gradients of the parameters. The random numbers of the first time,
    such as dropout, and its autocast are used again. Features and gradients
    are those of one pass, up to rounding; an encoder with batch
    normalisation sees chunks.

    Args:
        encode: From inputs with n rows to features of n rows.
        chunk: Rows at a time.
        *inputs: Tensors of N rows each; None is passed on.
    """
    rows = next(len(each) for each in inputs if each is not None)
    parts = [
        checkpoint(
            encode,
            *(
                None if each is None else each[start : start + chunk]
                for each in inputs
            ),
            use_reentrant=False,
        )
        for start in range(0, rows, chunk)
    ]
    return concatenate(parts)


class LogitScale(nn.Module):
    """A positive factor, learned in log space and capped.

    The cap ``max`` is applied to the parameter itself after each step, so
    that a value at the cap can still come down.

    Raises:
        ValueError: Unless 0 < init <= max.
    """

    def __init__(
        self, init: float = 100.0, learnable: bool = True, max: float = 100.0
    ) -> None:
        super().__init__()
        if not 0 < init <= max:
            raise ValueError(
                f'logit_scale needs 0 < init <= max, got init={init} and '
                f'max={max}'
            )
        self.max = max
        self.log = nn.Parameter(
            torch.tensor(math.log(init)), requires_grad=learnable
        )

    def forward(self) -> Tensor:
        """The factor, a scalar tensor in (0, max]."""
        with torch.no_grad():
            self.log.clamp_(max=math.log(self.max))
        return self.log.exp()


PREPROCESSOR = dict(type='mmtvr.TextVideoPreprocessor')


@MODELS.register_module()
class TextVideoRetriever(BaseModel):
    """Compare captions with videos, and train to compare them well.

    Any encoder that returns ``TokenFeatures`` works with any head, and any
    head with any contrastive loss. Positives are the pairs with equal video
    ids, so several captions of one video in a batch are no negatives.

    On R processes each compares its own captions with the videos of all, a
    share 1 / R of the work. Features and similarities are gathered with exact
    gradients: loss and gradients are those of one process on the union batch.

    Args:
        text_encoder: ``(tokens, mask, weight) -> TokenFeatures``.
        frame_encoder: ``(frames, mask) -> TokenFeatures``.
        head: ``(text, video) -> sim (B, V)``.
        contrastive_loss: ``(sim, match, logit_scale) -> scalar``. One with
            ``reads_parts`` gets the parts of the head's similarity, shape
            (B, P, V), in place of their sum.
        partial_loss: :class:`PartialOrderLoss`, whose partial captions and
            videos this model encodes; or ``(text, video) -> scalar`` over
            matched pairs, such as :class:`TPMCLLoss`; or None.
        temporal: ``TokenFeatures -> TokenFeatures`` over frames, or None for
            the frames as they are (mean pooling).
        logit_scale: Arguments of :class:`LogitScale`.
        cached_contrastive: ``dict(chunk=32)`` trains with the activations of
            32 captions or videos at a time, at the price of encoding twice;
            see :func:`encode_in_chunks`. None encodes in one pass.
        frozen_encoders: Train the projections of the encoders, see
            :mod:`mmtvr.models.frozen`, and what stands behind them,
            from videos or from stored features of the towers.
        lora: Arguments of :func:`mmtvr.models.lora.add_lora` for
            ``text_encoder``, ``frame_encoder`` or both.
        data_preprocessor: Gives frames as uint8, and normalises them with
            its ``normalize``; frames in floating point are encoded as they
            are. Defaults to ``mmtvr.TextVideoPreprocessor`` with
            CLIP's mean and deviation.
        init_cfg: Initialisation of mmengine.

    All parts are configs or modules.

    Raises:
        SetupError: If the encoders, or they and the parts behind them, differ
            in width.
    """

    def __init__(
        self,
        text_encoder: dict | nn.Module,
        frame_encoder: dict | nn.Module,
        head: dict | nn.Module,
        contrastive_loss: dict | nn.Module,
        partial_loss: dict | nn.Module | None = None,
        temporal: dict | nn.Module | None = None,
        logit_scale: dict = dict(init=100.0, learnable=True, max=100.0),  # noqa: B006
        cached_contrastive: dict[str, int] | None = None,
        frozen_encoders: bool = False,
        lora: dict[str, dict] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or PREPROCESSOR, init_cfg)
        self.text_encoder = _build(text_encoder)
        self.frame_encoder = _build(frame_encoder)
        self._check_widths(head, temporal, partial_loss)
        regions = getattr(self.frame_encoder, 'tokens_per_frame', 1)
        if temporal is not None and regions > 1:
            raise SetupError(
                f'the frame encoder gives {regions} tokens per frame, but the '
                'temporal encoder takes each token for a frame; set '
                'model.temporal=None, or regions=None of the frame encoder'
            )
        self.temporal = _build(temporal)
        if temporal is None and getattr(
            self.frame_encoder, 'raw_frames', False
        ):
            raise SetupError(
                'the frame encoder has raw_frames=True, but there is no '
                'temporal to bring frames to unit length, which heads expect; '
                'set temporal, or raw_frames=False'
            )
        self.head = _build(head)
        self.contrastive_loss = _build(contrastive_loss)
        self.partial_loss = _build(partial_loss)
        self.logit_scale = LogitScale(**logit_scale)
        self.chunk = _chunk_size(**(cached_contrastive or {}))
        self.frozen_encoders = frozen_encoders
        if lora:
            self._add_lora(lora)
        if frozen_encoders:
            freeze_tower(self.text_encoder)
            freeze_tower(self.frame_encoder)

    def _add_lora(self, lora: dict[str, dict | None]) -> None:
        from mmtvr.models.lora import add_lora

        if self.frozen_encoders:
            raise SetupError(
                'model.lora trains the towers, frozen_encoders=True (or '
                'frozen_features) does not: leave out one of them'
            )
        sides = dict(
            text_encoder=self.text_encoder, frame_encoder=self.frame_encoder
        )
        for side, options in lora.items():
            if side not in sides:
                raise SetupError(
                    f'model.lora has {side!r}, expected text_encoder or '
                    'frame_encoder, as in model.lora.text_encoder.r=8'
                )
            if options:
                add_lora(sides[side], side, **options)

    def _check_widths(self, *parts: dict | nn.Module | None) -> None:
        """Compare ``embed_dims`` of the encoders and of the parts' configs."""
        width = getattr(self.text_encoder, 'embed_dims', None)
        other = getattr(self.frame_encoder, 'embed_dims', width)
        if width is not None and other != width:
            raise SetupError(
                f'the text encoder gives width {width}, but the frame encoder '
                f'{other}; they must be equal'
            )
        for part in parts:
            if not isinstance(part, dict) or width is None:
                continue
            given = part.get('embed_dims', width)
            if given != width:
                raise SetupError(
                    f'{part["type"]} has embed_dims={given}, but the encoders '
                    f'give width {width}; set embed_dims={width}'
                )

    def train(self, mode: bool = True) -> 'TextVideoRetriever':
        """Switch the mode, but not that of frozen towers."""
        super().train(mode)
        if self.frozen_encoders:
            set_training(self.text_encoder, mode)
            set_training(self.frame_encoder, mode)
        return self

    def extract_text(self, inputs: dict[str, Tensor]) -> TokenFeatures:
        """Encode B captions.

        Args:
            inputs: ``tokens``, ``token_mask`` and optionally
                ``token_weight``, each (B, L), or (B, K, L) for paragraphs of
                K rows. Or stored features of the tower: ``words`` (B, L, H),
                ``sentence`` (B, ..., H), ``token_mask``, ``token_weight``.
        """
        if 'words' in inputs:
            raw = TokenFeatures(
                inputs['words'].float(),
                inputs['token_mask'],
                inputs['sentence'].float(),
                inputs.get('token_weight'),
            )
            return project(self.text_encoder, raw)
        return self._encode(
            self._run_encoder(self.text_encoder),
            inputs['tokens'],
            inputs['token_mask'],
            inputs.get('token_weight'),
        )

    def extract_video(self, inputs: dict[str, Tensor]) -> TokenFeatures:
        """Encode V videos, with their order in time if there is ``temporal``.

        Args:
            inputs: ``frames`` (V, T, 3, H, W), uint8 or normalised, and
                ``frame_mask`` (V, T). Or stored features of the tower:
                ``frame_tokens`` (V, T, H), ``frame_pooled`` (V, H') and
                ``frame_mask``.
        """
        return self.mix_frames(self.extract_frames(inputs))

    def extract_frames(self, inputs: dict[str, Tensor]) -> TokenFeatures:
        """Encode the frames of V videos, each frame by itself.

        Args:
            inputs: Those of :meth:`extract_video`.
        """
        if 'frame_tokens' in inputs:
            raw = TokenFeatures(
                inputs['frame_tokens'].float(),
                inputs['frame_mask'],
                inputs['frame_pooled'].float(),
            )
            return project(self.frame_encoder, raw)
        return self._encode(
            self._encode_frames, inputs['frames'], inputs['frame_mask']
        )

    def mix_frames(self, frames: TokenFeatures) -> TokenFeatures:
        """Let frames see each other by ``temporal``, if there is one."""
        if self.temporal is None:
            return frames

        def mix(*fields: Tensor | None) -> TokenFeatures:
            return self.temporal(TokenFeatures(*fields))

        return self._encode(mix, *frames)

    def removable_words(self, mask: Tensor) -> Tensor:
        """Tokens (..., L) of captions that are words, not special tokens."""
        return removable_words(mask, *self._special_tokens)

    @property
    def _special_tokens(self) -> tuple[int, int]:
        """Special tokens in front of the words of a caption, and behind."""
        encoder = self.text_encoder
        lead = getattr(encoder, 'lead_tokens', 1)
        return lead, getattr(encoder, 'tail_tokens', 1)

    def extract_partial_text(
        self, inputs: dict[str, Tensor], removed: Tensor, rows: Tensor
    ) -> TokenFeatures:
        """Encode captions from the word pieces that remain.

        The result is that of the shorter captions: no trace of the removed
        pieces is left in the others.

        Args:
            inputs: Those of :meth:`extract_text`.
            removed: Shape (N, L) or (N, K, L), bool.
            rows: Shape (N,), int64, the captions.
        """
        weight = inputs.get('token_weight')
        tokens, mask, weight = remove_words(
            inputs['tokens'][rows],
            inputs['token_mask'][rows],
            None if weight is None else weight[rows],
            removed,
            sum(self._special_tokens),
        )
        encoder = self._run_encoder(self.text_encoder)
        return self._encode(encoder, tokens, mask, weight)

    def _encode_frames(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        if not frames.is_floating_point():
            frames = self.data_preprocessor.normalize(frames)
        return self._run_encoder(self.frame_encoder)(frames, mask)

    def _encode(
        self, encode: Callable[..., TokenFeatures], *inputs: Tensor | None
    ) -> TokenFeatures:
        if self.chunk and torch.is_grad_enabled():
            return encode_in_chunks(encode, self.chunk, *inputs)
        return encode(*inputs)

    def _run_encoder(self, encoder: nn.Module) -> Callable[..., TokenFeatures]:
        if not self.frozen_encoders:
            return encoder
        return lambda *inputs: project(encoder, extract(encoder, *inputs))

    def similarity(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos, (B, V), without temperature."""
        return self.head(text, video)

    def explain(
        self, text: TokenFeatures, video: TokenFeatures, words: Sequence[str]
    ) -> Explanation:
        """Explain the similarity of a pair, see :func:`explain_pair`."""
        return explain_pair(self, text, video, words)

    def forward(
        self,
        inputs: dict[str, Tensor],
        data_samples: list | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Run the model as mmengine calls it.

        Args:
            inputs: What ``TextVideoPreprocessor`` returns.
            data_samples: One per video.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: features of texts and of videos. ``'loss'``: a dict
            of terms that add up, and of values that are only logged.
            ``'predict'``: the data samples, each with ``text_features`` of
            its captions, ``video_features`` of its video and the number
            ``cut_captions`` of captions that were too long.

        Raises:
            ValueError: If the mode is none of these.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(
                f"mode must be 'tensor', 'loss' or 'predict', not {mode!r}"
            )
        text, frames = self.extract_text(inputs), self.extract_frames(inputs)
        video = self.mix_frames(frames)
        if mode == 'tensor':
            return text, video
        if mode == 'predict':
            return self._predict(text, video, inputs, data_samples)
        losses = self.training_losses(inputs, text, frames, video)
        if 'cut_pieces' in inputs:
            cut = inputs['cut_pieces'] > 0
            losses['cut_captions'] = cut.float().mean()
        return losses

    def training_losses(
        self,
        inputs: dict[str, Tensor],
        text: TokenFeatures,
        frames: TokenFeatures,
        video: TokenFeatures,
    ) -> dict[str, Tensor]:
        """Compute all terms of a batch from it and its features.

        Args:
            inputs: The batch.
            text: B captions.
            frames: V videos before the temporal encoder.
            video: The same behind it.
        """
        partial = None
        if hasattr(self.partial_loss, 'partial_matches'):
            partial = self.partial_loss.partial_matches(
                self, inputs, text, frames, video
            )
        return self.losses(
            text, video, inputs['video_of_text'], inputs['video_ids'], partial
        )

    def losses(
        self,
        text: TokenFeatures,
        video: TokenFeatures,
        video_of_text: Tensor,
        video_ids: Tensor,
        partial: 'list[PartialMatches] | None' = None,
    ) -> dict[str, Tensor]:
        """Compute all terms from the features of this process.

        Args:
            text: B captions.
            video: V videos.
            video_of_text: Shape (B,), int64, the row of each caption's video.
            video_ids: Shape (V,), int64, equal for the same video on any
                process.
            partial: Partial versions of the captions and videos, for a
                ``partial_loss`` that compares them.

        Returns:
            Scalars; keys with ``loss`` are terms of the sum.
        """
        scale = self.logit_scale()
        text_ids = gather_rows(video_ids[video_of_text])
        match = text_ids[:, None] == gather_rows(video_ids)
        compare = self.head
        if getattr(self.contrastive_loss, 'reads_parts', False):
            compare = self._compare_parts
        videos = gather_features(video)
        if self.training and hasattr(self.head, 'observe'):
            self.head.observe(videos)
        sim = gather_rows(compare(text, videos))
        losses = dict(
            loss_contrastive=self.contrastive_loss(sim, match, scale)
        )
        losses.update(_log_values(self.contrastive_loss))
        if partial is not None:
            whole = sim.sum(1) if sim.ndim == 3 else sim
            losses |= self.partial_loss.terms(
                partial, video_of_text, len(video_ids), whole, match, scale
            )
            losses.update(_log_values(self.partial_loss))
        elif self.partial_loss is not None:
            # A mean over the pairs of this process; DDP takes the mean over
            # processes, which is the mean over all pairs with this factor.
            share = len(text.mask) * world_size() / len(text_ids)
            pairs = self.partial_loss(text, video.select(video_of_text))
            losses['loss_partial'] = pairs * share
            losses.update(_log_values(self.partial_loss))
        losses['logit_scale'] = scale.detach()
        return losses

    def _compare_parts(
        self, text: TokenFeatures, video: TokenFeatures
    ) -> Tensor:
        """The parts of the similarity that the head names, (B, P, V)."""
        if not hasattr(self.head, 'parts'):
            return self.head(text, video)
        return torch.stack(list(self.head.parts(text, video).values()), 1)

    @staticmethod
    def _predict(
        text: TokenFeatures,
        video: TokenFeatures,
        inputs: dict[str, Tensor],
        data_samples: list,
    ) -> list:
        rows = torch.arange(len(data_samples), device=video.mask.device)
        for row, sample in zip(rows, data_samples, strict=True):
            captions = inputs['video_of_text'] == row
            sample.text_features = text.select(captions).detach()
            sample.video_features = video.select(row[None]).detach()
            if 'cut_pieces' in inputs:
                cut = inputs['cut_pieces'][captions] > 0
                sample.cut_captions = int(cut.sum())
        return data_samples


def _build(part: dict | nn.Module | None) -> nn.Module | None:
    return MODELS.build(part) if isinstance(part, dict) else part


def _chunk_size(chunk: int | None = None) -> int:
    if chunk is not None and chunk < 1:
        raise SetupError(
            f'cached_contrastive=dict(chunk={chunk}) must be at least 1: the '
            'number of captions or videos that are encoded at a time'
        )
    return chunk or 0


def _log_values(loss: nn.Module) -> dict[str, Tensor]:
    return loss.log_values() if hasattr(loss, 'log_values') else {}
