"""Rescoring that looks at more than one query, and its options."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmtvr.evaluation.report import Rescoring


def dual_softmax(scores: Tensor, temperature: float) -> Tensor:
    r"""Weigh each score by how much its item prefers this query (DSL).

    .. math:: s'_{ij} = s_{ij} \cdot \mathrm{softmax}_i (s_{ij} / T)

    The softmax runs over the queries (CAMoE, arXiv:2109.04290). What is
    returned is a rising function of that product, so ranks are those of the
    field's formula, but small probabilities neither underflow to 0 nor tie.
    As in the formula, a negative score is raised by a small probability.

    Args:
        scores: Shape (Q, N), rows are queries. For the other direction give
            the transpose.
        temperature: T, positive.

    Returns:
        Shape (Q, N), float64.
    """
    prior = _logits(scores, temperature).log_softmax(dim=0)
    scores = scores.double()
    size = scores.abs().log() + prior
    smallest = size[size.isfinite()].amin() if scores.any() else 0.0
    return torch.where(
        scores == 0, scores, scores.sign() * (size - smallest + 1)
    )


def qb_norm(
    scores: Tensor, bank: Tensor, temperature: float, hubs_of: int = 1
) -> Tensor:
    r"""Querybank normalisation with a dynamic inverted softmax.

    .. math:: s'_{ij} = s_{ij} / T - \log \sum_b \exp(s^{bank}_{bj} / T)

    for the queries whose first item is a hub, an item among the first
    ``hubs_of`` of any query of the bank; other queries keep their scores
    (Bogolin et al., CVPR 2022). The bank must come from the training set.
    Rows are on different scales then, so the result ranks items per query and
    must not be transposed.

    Args:
        scores: Shape (Q, N), rows are queries.
        bank: Shape (B, N), scores of the bank's queries against the same
            items.
        temperature: T, positive; the paper's beta is 1 / T.
        hubs_of: How many first items of each bank query are hubs.

    Returns:
        Shape (Q, N), float64.

    Raises:
        ValueError: If the temperature is not positive, or the bank is empty
            or has other items.
    """
    _check_bank(scores, bank)
    logits = _logits(scores, temperature)
    prior = _logits(bank, temperature).logsumexp(dim=0)
    hubs = torch.zeros(scores.shape[1], dtype=torch.bool, device=bank.device)
    hubs[bank.topk(hubs_of, dim=1).indices.flatten()] = True
    activated = hubs[scores.argmax(dim=1)]
    return torch.where(activated[:, None], logits - prior, logits)


def nnn_bias(bank: Tensor, neighbors: int) -> Tensor:
    r"""How close each item is to the queries that are closest to it.

    The one number per item that nearest neighbor normalization needs, which
    can be computed when the items are indexed.

    Args:
        bank: Shape (B, N), scores of reference queries against all items.
        neighbors: k, how many of the largest scores are averaged; all B of
            them if there are no more.

    Returns:
        Shape (N,), float64.

    Raises:
        ValueError: If k is not positive.
    """
    if neighbors < 1:
        raise ValueError(f'neighbors must be positive, got {neighbors}')
    return bank.double().topk(min(neighbors, len(bank)), dim=0).values.mean(0)


def nnn(scores: Tensor, bank: Tensor, alpha: float, neighbors: int) -> Tensor:
    r"""Nearest neighbor normalization.

    .. math:: s'_{ij} = s_{ij} - \frac{\alpha}{k}
        \sum_{b \in \mathrm{top}_k(j)} s^{bank}_{bj}

    (Chowdhury et al., EMNLP 2024, arXiv:2410.24114, read in its abstract and
    in summaries). The bank's queries must not be those of the test: take
    training texts. Unlike :func:`qb_norm` all queries stay on one scale.

    Args:
        scores: Shape (Q, N), rows are queries.
        bank: Shape (B, N), scores of the bank's queries against the same
            items.
        alpha: How much of the bias is subtracted.
        neighbors: See :func:`nnn_bias`.

    Returns:
        Shape (Q, N), float64.

    Raises:
        ValueError: If k is not positive, or the bank is empty or has other
            items.
    """
    _check_bank(scores, bank)
    return scores.double() - alpha * nnn_bias(bank, neighbors)


def sinkhorn(
    scores: Tensor, temperature: float, iterations: int = 20
) -> Tensor:
    """Scale rows and columns in turn until each sums to its share.

    The logarithm of the transport plan between equally heavy queries and
    equally heavy items (Sinkhorn and Knopp, 1967; Cuturi, 2013). The last
    step scales rows, which leaves the ranks within them as they are.

    Args:
        scores: Shape (Q, N), rows are queries.
        temperature: T, positive.
        iterations: Number of times that both are scaled.

    Returns:
        Shape (Q, N), float64.

    Raises:
        ValueError: If the temperature or the number is not positive.
    """
    if iterations < 1:
        raise ValueError(f'iterations must be positive, got {iterations}')
    plan = _logits(scores, temperature)
    for _ in range(iterations):
        plan = plan - plan.logsumexp(dim=0, keepdim=True)
        plan = plan - plan.logsumexp(dim=1, keepdim=True)
    return plan


def _check_bank(scores: Tensor, bank: Tensor) -> None:
    if bank.ndim != 2 or bank.shape[1] != scores.shape[1] or not len(bank):
        raise ValueError(
            f'the bank must score the same {scores.shape[1]} items, got a '
            f'table of shape {tuple(bank.shape)}'
        )


def check_bank_is_not_the_test(scores: Tensor, bank: Tensor) -> None:
    """Refuse a bank that holds the queries it is to correct.

    Some may be there: training captions repeat test captions.

    Raises:
        ValueError: If more than half of the queries have their scores in it.
    """
    known = set(map(bytes, bank.to(scores.dtype).numpy()))
    found = sum(row.tobytes() in known for row in scores.numpy())
    if 2 * found > len(scores):
        raise ValueError(
            f'{found} of the {len(scores)} test texts are in the bank, which '
            'must hold scores of other texts: give those of training texts'
        )


def _logits(scores: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f'temperature must be positive, got {temperature}')
    return scores.double() / temperature


QUERY_WISE = {'dual-softmax': dual_softmax, 'sinkhorn': sinkhorn}
QB_NORM, NNN = 'qb-norm', 'nnn'
NAMES = (*QUERY_WISE, QB_NORM)


def parse_rescorings(
    entries: Sequence[str], bank: Tensor | None = None
) -> list[Rescoring]:
    """Build rescorings from ``NAME:TEMPERATURE`` or ``nnn:ALPHA:K``.

    Args:
        entries: Such as ``dual-softmax:0.01``, ``qb-norm:0.05`` or
            ``nnn:0.75:16``.
        bank: For QB-Norm and NNN, scores (training texts, videos).

    Raises:
        ValueError: A name or a number is wrong, or there is no bank.
    """
    return [_parse(entry, bank) for entry in entries]


def _parse(entry: str, bank: Tensor | None) -> Rescoring:
    name, *texts = entry.split(':')
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        numbers = []
    if name == NNN:
        return _parse_nnn(entry, numbers, bank)
    if name not in NAMES or len(numbers) != 1 or not numbers[0] > 0:
        raise ValueError(
            f'rescoring {entry!r}: expected {NNN}:ALPHA:K, or '
            f'NAME:TEMPERATURE with a name out of {", ".join(NAMES)} and a '
            'positive temperature that was fixed before or tuned on '
            'validation data'
        )
    (temperature,) = numbers
    label = f'{name}, temperature {temperature:g}'
    if name in QUERY_WISE:
        return Rescoring(
            label,
            lambda scores, _: QUERY_WISE[name](scores, temperature),
            needs_all_queries=True,
        )
    return _with_bank(
        label, bank, lambda scores, bank: qb_norm(scores, bank, temperature)
    )


def _parse_nnn(
    entry: str, numbers: list[float], bank: Tensor | None
) -> Rescoring:
    if len(numbers) != 2 or numbers[1] < 1 or numbers[1] % 1:
        raise ValueError(
            f'rescoring {entry!r}: expected {NNN}:ALPHA:K, such as '
            'nnn:0.75:16, with K a whole number from 1 on; both fixed before '
            'or tuned on validation data'
        )
    alpha, neighbors = numbers[0], int(numbers[1])
    return _with_bank(
        f'{NNN}, alpha {alpha:g}, {neighbors} neighbors',
        bank,
        lambda scores, bank: nnn(scores, bank, alpha, neighbors),
    )


def _with_bank(
    label: str,
    bank: Tensor | None,
    apply: Callable[[Tensor, Tensor], Tensor],
) -> Rescoring:
    if bank is None:
        raise ValueError(
            f'{label.partition(",")[0]} needs a query bank (--bank '
            'FILE.npy): scores of training texts against the test videos, '
            'never of test texts'
        )

    def rescore(scores: Tensor, direction: str) -> Tensor:
        # A bank of texts says which videos are hubs, nothing about texts.
        if direction == 'v2t':
            return scores
        check_bank_is_not_the_test(scores, bank)
        return apply(scores, bank)

    return Rescoring(f'{label} (t2v only)', rescore, needs_all_queries=False)
