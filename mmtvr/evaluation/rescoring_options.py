"""Rescorings as users name them: ``NAME:TEMPERATURE``."""

from collections.abc import Sequence

from torch import Tensor

from mmtvr.evaluation.report import Rescoring
from mmtvr.evaluation.rescoring import dual_softmax, qb_norm, sinkhorn

SHARPENERS = {'dual-softmax': dual_softmax, 'sinkhorn': sinkhorn}
QB_NORM = 'qb-norm'
NAMES = (*SHARPENERS, QB_NORM)


def parse_rescorings(
    entries: Sequence[str], bank: Tensor | None = None
) -> list[Rescoring]:
    """Build rescorings from ``NAME:TEMPERATURE``.

    Args:
        entries: Such as ``dual-softmax:0.01`` or ``qb-norm:0.05``.
        bank: For QB-Norm, scores (training texts, videos).

    Returns:
        The rescorings, in order.

    Raises:
        ValueError: A name or a temperature is wrong, or there is no bank.
    """
    return [_parse(entry, bank) for entry in entries]


def _parse(entry: str, bank: Tensor | None) -> Rescoring:
    name, _, number = entry.partition(':')
    try:
        temperature = float(number)
    except ValueError:
        temperature = 0.0
    if name not in NAMES or not temperature > 0:
        raise ValueError(
            f'rescoring {entry!r}: expected NAME:TEMPERATURE with a name out '
            f'of {", ".join(NAMES)} and a positive temperature that was fixed '
            'before or tuned on validation data'
        )
    label = f'{name}, temperature {temperature:g}'
    if name != QB_NORM:
        return _build_sharpener(label, name, temperature)
    if bank is None:
        raise ValueError(
            'qb-norm needs a query bank (--bank FILE.npy): scores of training '
            'texts against the test videos, never of test texts'
        )
    return _build_qb_norm(label, bank, temperature)


def _build_sharpener(label: str, name: str, temperature: float) -> Rescoring:
    def rescore(scores: Tensor, direction: str) -> Tensor:
        del direction
        return SHARPENERS[name](scores, temperature)

    return Rescoring(label, rescore, needs_all_queries=True)


def _build_qb_norm(label: str, bank: Tensor, temperature: float) -> Rescoring:
    def rescore(scores: Tensor, direction: str) -> Tensor:
        # A bank of texts says which videos are hubs, nothing about texts.
        if direction == 'v2t':
            return scores
        return qb_norm(scores, bank, temperature)

    return Rescoring(f'{label} (t2v only)', rescore, needs_all_queries=False)
