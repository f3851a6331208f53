"""What a student learns from a teacher: rows of similarities, frames."""

from torch import Tensor, nn

from mmtvr.ops import wide_dtype
from mmtvr.registry import MODELS


def pearson_distance(
    p: Tensor, q: Tensor, mask: Tensor | None = None
) -> Tensor:
    """One minus the correlation of the rows of two tables, (N,) in [0, 2].

    Args:
        p: Shape (N, M).
        q: Shape (N, M).
        mask: Shape (N, M), bool, True for what counts; None for all. Rows
            that are constant, or have fewer than two such cells, have
            correlation 0.
    """
    if mask is None:
        mask = p.new_ones(p.shape, dtype=bool)
    count = mask.sum(1, keepdim=True).clamp_min(1)

    def center(x: Tensor) -> Tensor:
        x = x.masked_fill(~mask, 0.0)
        return (x - x.sum(1, keepdim=True) / count).masked_fill(~mask, 0.0)

    p, q = center(p), center(q)
    # The root of the sum has no finite gradient at 0.
    size = (p.square().sum(1) * q.square().sum(1)).clamp_min(1e-24).sqrt()
    return 1 - (p * q).sum(1) / size


def similarity_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Let rows and columns of logits rank as the teacher's do.

    TeachCLIP's ``pear``: the Pearson distance of the softmax of each row, and
    of each column, averaged and added (Tian et al., CVPR 2024; read in its
    released code).

    Args:
        student: Shape (B, V), logits.
        teacher: Shape (B, V), logits; no gradient goes to them.

    Returns:
        Scalar in [0, 4].
    """
    dtype = wide_dtype(student, teacher)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    return sum(
        pearson_distance(s.softmax(1), t.softmax(1)).mean()
        for s, t in ((student, teacher), (student.mT, teacher.mT))
    )


def frame_distillation(
    weight: Tensor, teacher: Tensor, mask: Tensor
) -> Tensor:
    """Cross entropy of a student's frame weights with a teacher's.

    TeachCLIP's ``fine_method='ce'``: a mean over frames, not a sum.

    Args:
        weight: Shape (N, T), the student's, of sum 1 over real frames.
        teacher: Shape (N, T), the teacher's, likewise; no gradient.
        mask: Shape (N, T), bool, True for real frames.

    Returns:
        Shape (N,), not negative.
    """
    log = weight.to(wide_dtype(weight)).clamp_min(1e-12).log()
    cost = -(teacher.detach() * log).masked_fill(~mask, 0.0).sum(1)
    return cost / mask.sum(1).clamp_min(1)


@MODELS.register_module()
class DistillationLoss(nn.Module):
    """The two terms of TeachCLIP, with the weights of its released code.

    Args:
        similarity_weight: Weight of :func:`similarity_distillation`.
        frame_weight: Weight of :func:`frame_distillation`; 0 for a student
            that pools by the mean.
    """

    def __init__(
        self, similarity_weight: float = 1.0, frame_weight: float = 2.0
    ) -> None:
        super().__init__()
        self.similarity_weight = similarity_weight
        self.frame_weight = frame_weight

    def similarity(self, student: Tensor, teacher: Tensor) -> Tensor:
        """:func:`similarity_distillation`, weighted."""
        return self.similarity_weight * similarity_distillation(
            student, teacher
        )

    def frames(self, weight: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Mean over rows of :func:`frame_distillation`, weighted."""
        rows = frame_distillation(weight, teacher, mask)
        return self.frame_weight * rows.sum() / max(1, len(rows))
