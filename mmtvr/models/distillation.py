"""One vector per video that has learned from a token-wise teacher.

After TeachCLIP (Tian et al., "Holistic Features are almost Sufficient for
Text-to-Video Retrieval", CVPR 2024), read in its released code.
"""

from typing import Any

import torch
from torch import Tensor, finfo, nn

from mmtvr.checkpoints import read_checkpoint
from mmtvr.distributed.gather import gather_features, gather_rows, world_size
from mmtvr.errors import SetupError
from mmtvr.models.retriever import TextVideoRetriever
from mmtvr.ops import autocast_off, full_precision, to_unit
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


@MODELS.register_module()
class FrameAggregation(nn.Module):
    r"""Pool frames by learned attention (TeachCLIP's AFA).

    A frame x has the score :math:`f(x) = w^\top \mathrm{relu}(W x + c)`. The
    pooled vector is :math:`\sum_t \mathrm{softmax}_t (f(x_t) / \tau) \, x_t`
    as a unit vector; ``weight`` of the features becomes the softmax without
    :math:`\tau`, which a teacher's weights of frames can teach. It stands
    where a temporal encoder does, after one if given.

    Args:
        embed_dims: Width D of the frames.
        temperature: The temperature; 0.1 as released.
        temporal: A temporal encoder in front, or None.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        temperature: float = 0.1,
        temporal: dict | nn.Module | None = None,
    ) -> None:
        super().__init__()
        if isinstance(temporal, dict):
            temporal = MODELS.build(temporal)
        self.temporal = temporal
        self.temperature = temperature
        self.score = nn.Sequential(
            nn.Linear(embed_dims, embed_dims),
            nn.ReLU(),
            # A bias cannot be seen through a softmax.
            nn.Linear(embed_dims, 1, bias=False),
        )

    def forward(self, video: TokenFeatures) -> TokenFeatures:
        """Give V videos pooled vectors and weights (V, T) of sum 1."""
        if self.temporal is not None:
            video = self.temporal(video)
        with autocast_off(video.tokens):
            (video,) = full_precision(video)
            frames = video.tokens.masked_fill(~video.mask[..., None], 0.0)
            score = self.score(frames.to(self.score[0].weight.dtype))
            score = score.squeeze(-1).to(frames.dtype)
            share = _softmax(score / self.temperature, video.mask)
            pooled = to_unit((share[..., None] * frames).sum(1))
            weight = _softmax(score, video.mask)
            return video._replace(pooled=pooled, weight=weight)


def _softmax(score: Tensor, mask: Tensor) -> Tensor:
    """Softmax over real frames; 0 at padding and where all is padding."""
    score = score.masked_fill(~mask, finfo(score.dtype).min)
    return score.softmax(-1).masked_fill(~mask, 0.0)


@MODELS.register_module()
class DistilledRetriever(TextVideoRetriever):
    """A retriever that also learns from a trained, frozen one.

    Two terms join the contrastive loss: the teacher's similarities of the
    batch, and, where the features have weights of frames
    (:class:`FrameAggregation`), how the teacher's sentence vector weighs the
    frames of its video, by a softmax of their cosines.

    The teacher is loaded when a training starts and is no part of the
    checkpoint: tests and indexes need neither its weights nor its file. It
    sees the same frames and words, so both need the same tokenizer and image
    size; normalisation is each model's own.

    Args:
        teacher: Config of the teacher's model.
        teacher_checkpoint: Its checkpoint.
        distillation_loss: Defaults to ``mmtvr.DistillationLoss``.
        contrastive_weight: Factor of the contrastive loss; 0.2 as released.
        frame_temperature: Temperature of the teacher's weights of frames.
        **options: Those of :class:`TextVideoRetriever`.
    """

    def __init__(
        self,
        teacher: dict,
        teacher_checkpoint: str,
        distillation_loss: dict | None = None,
        contrastive_weight: float = 0.2,
        frame_temperature: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.teacher_config = teacher
        self.teacher_checkpoint = teacher_checkpoint
        self.distillation_loss = MODELS.build(
            distillation_loss or dict(type='mmtvr.DistillationLoss')
        )
        self.contrastive_weight = contrastive_weight
        self.frame_temperature = frame_temperature
        # In a tuple it is neither saved nor trained.
        self._teacher: tuple[nn.Module, ...] = ()

    def init_weights(self) -> None:
        """Initialise, as a training does first, and load the teacher.

        Raises:
            SetupError: If the checkpoint is missing or of another model.
        """
        super().init_weights()
        self._load_teacher()

    def _load_teacher(self) -> None:
        teacher = MODELS.build(self.teacher_config)
        state = read_checkpoint(self.teacher_checkpoint)['state_dict']
        try:
            teacher.load_state_dict(state)
        except RuntimeError as error:
            raise SetupError(
                f'teacher_checkpoint {self.teacher_checkpoint} does not fit '
                f'the config of the teacher: {error}'
            ) from error
        self._teacher = (teacher.eval().requires_grad_(False),)

    def training_losses(
        self,
        inputs: dict[str, Tensor],
        text: TokenFeatures,
        frames: TokenFeatures,
        video: TokenFeatures,
    ) -> dict[str, Tensor]:
        """Add what the teacher says of the same batch."""
        losses = super().training_losses(inputs, text, frames, video)
        hard = losses['loss_contrastive']
        losses['loss_contrastive'] = self.contrastive_weight * hard
        if not self._teacher:
            self._load_teacher()
        (teacher,) = self._teacher
        teacher.to(text.pooled.device)
        with torch.no_grad():
            shown, seen = teacher(inputs, mode='tensor')
            there = gather_rows(
                teacher.similarity(shown, gather_features(seen))
            )
            there = there * teacher.logit_scale()
        here = gather_rows(self.head(text, gather_features(video)))
        losses['loss_distillation'] = self.distillation_loss.similarity(
            here * self.logit_scale(), there
        )
        rows = inputs['video_of_text']
        own = video.select(rows)
        if own.weight is not None:
            cosine = torch.einsum(
                'bd,btd->bt', shown.pooled, seen.select(rows).tokens
            )
            told = _softmax(cosine / self.frame_temperature, own.mask)
            # As the partial loss: a mean over the pairs of all processes.
            texts = gather_rows(rows)
            share = len(rows) * world_size() / len(texts)
            losses['loss_frames'] = share * self.distillation_loss.frames(
                own.weight, told, own.mask
            )
        return losses
