"""Tables of the comparison, with intervals over items and seeds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
TOPK = (1, 5, 10)

Run = Mapping[str, str]


class Ranks(NamedTuple):
    """Ranks that models of one variant gave to the right answers.

    Attributes:
        values: Shape (N, S), from 1: the N items of all folds, S seeds.
        folds: Shape (N,), the fold in which an item is tested.
        galleries: Shape (N,), how many answers were ranked.
    """

    values: np.ndarray
    folds: np.ndarray
    galleries: np.ndarray

    def hits(self, k: int) -> np.ndarray:
        """Recall at k of each item and seed in percent, (N, S).

        A rank between two integers is the mean over the orders of ties.
        """
        return 100 * np.clip(k + 1 - self.values, 0, 1)


def gather_ranks(runs: Sequence[Run], column: str) -> Ranks:
    """Put the folds and seeds of one variant together.

    Args:
        runs: Rows of one variant on one set; each fold with the same seeds.
        column: ``'ranks'`` or ``'v2t_ranks'``.

    Raises:
        ValueError: A fold lacks a seed.
    """
    seeds = sorted({int(run['seed']) for run in runs})
    found = {
        (int(run['fold']), int(run['seed'])): np.array(
            run[column].split(), dtype=np.float64
        )
        for run in runs
    }
    folds = sorted({fold for fold, _ in found})
    missing = [
        (fold, seed)
        for fold in folds
        for seed in seeds
        if (fold, seed) not in found
    ]
    if missing:
        raise ValueError(
            f'{runs[0]["set"]}, {runs[0]["variant"]}: no run of fold '
            f'{missing[0][0]} with seed {missing[0][1]}'
        )
    parts = [
        np.stack([found[fold, seed] for seed in seeds], axis=1)
        for fold in folds
    ]
    sizes = [len(part) for part in parts]
    return Ranks(
        np.concatenate(parts),
        np.repeat(folds, sizes),
        np.repeat(sizes, sizes),
    )


def interval(
    values: np.ndarray, folds: np.ndarray, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % interval of a mean over items and seeds.

    Items are drawn with replacement, each with all of its seeds; and in each
    fold, whose models were trained apart, seeds are.

    Args:
        values: Shape (N, S).
        folds: Shape (N,).
        resamples: Number of draws, always the same ones.
    """
    rng = np.random.default_rng(0)
    items, seeds = values.shape
    _, fold = np.unique(folds, return_inverse=True)
    means = np.empty(resamples)
    for number in range(resamples):
        drawn = rng.integers(seeds, size=(fold.max() + 1, seeds))
        rows = rng.integers(items, size=items)
        means[number] = values[rows[:, None], drawn[fold[rows]]].mean()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def ceiling(captions: Sequence[Sequence[str]], k: int = 1) -> float:
    """Recall at k that no model exceeds without luck, in percent.

    Args:
        captions: Of the videos of each fold, one each. Equal ones tie.
    """
    shares = []
    for texts in captions:
        keys = [text.lower() for text in texts]
        shares += [min(1.0, k / keys.count(key)) for key in keys]
    return 100 * float(np.mean(shares))


def chance(ranks: Ranks, k: int) -> float:
    """Recall at k of random orders, in percent."""
    return 100 * float(np.minimum(1, k / ranks.galleries).mean())


def format_cell(ranks: Ranks, k: int) -> str:
    """A recall with its interval."""
    hits = ranks.hits(k)
    low, high = interval(hits, ranks.folds)
    return f'{hits.mean():.1f} [{low:.1f}, {high:.1f}]'


def format_difference(ranks: Ranks, other: Ranks, k: int = 1) -> str:
    """What a variant has over another, on the same items and seeds.

    With another number of seeds, the first ones of both are compared.
    """
    seeds = min(ranks.values.shape[1], other.values.shape[1])
    gap = ranks.hits(k)[:, :seeds] - other.hits(k)[:, :seeds]
    low, high = interval(gap, ranks.folds)
    return f'{gap.mean():+.1f} [{low:+.1f}, {high:+.1f}]'


def write_tables(
    runs: Sequence[Run],
    sets: Sequence[str],
    variants: Mapping[str, str],
    reference: str,
) -> str:
    """Recalls of all variants on all sets, as Markdown.

    Args:
        runs: Tests.
        sets: Their order.
        variants: Key in ``runs`` to name, in their order.
        reference: The variant that others are compared with.
    """
    lines = []
    for name in sets:
        here = [run for run in runs if run['set'] == name]
        rows = {
            variant: [run for run in here if run['variant'] == variant]
            for variant in variants
        }
        rows = {variant: found for variant, found in rows.items() if found}
        if not rows:
            continue
        lines += [
            f'### {name}',
            '',
            '| | seeds | R@1 | R@5 | R@10 | v2t R@1 | R@1 against '
            f'{variants[reference]} |',
            '|---|---|---|---|---|---|---|',
        ]
        gathered = {
            variant: [
                gather_ranks(found, column)
                for column in ('ranks', 'v2t_ranks')
            ]
            for variant, found in rows.items()
        }
        for variant, (ranks, back) in gathered.items():
            cells = [format_cell(ranks, k) for k in TOPK]
            cells.append(format_cell(back, 1))
            compared = '-'
            if variant != reference and reference in gathered:
                compared = format_difference(ranks, gathered[reference][0])
            seeds = ranks.values.shape[1]
            lines.append(
                f'| {variants[variant]} | {seeds} | '
                f'{" | ".join([*cells, compared])} |'
            )
        some, _ = next(iter(gathered.values()))
        cells = ' | '.join(f'{chance(some, k):.1f}' for k in TOPK)
        lines += [f'| chance | | {cells} | {chance(some, 1):.1f} | |', '']
    return '\n'.join(lines)


def write_languages(
    runs: Sequence[Run], names: Mapping[str, str], variants: Mapping[str, str]
) -> str:
    """R@1 of models in languages that they were not trained on, as Markdown.

    Args:
        runs: Tests.
        names: Set in ``runs`` to language, in their order.
        variants: Key in ``runs`` to name, in their order.
    """
    lines = [
        f'| R@1 | {" | ".join(names.values())} |',
        f'|---|{len(names) * "---|"}',
    ]
    for variant, title in variants.items():
        found = [
            [
                run
                for run in runs
                if run['set'] == name and run['variant'] == variant
            ]
            for name in names
        ]
        if all(found):
            cells = [
                format_cell(gather_ranks(each, 'ranks'), 1) for each in found
            ]
            lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join([*lines, ''])


def write_fine_grained(
    runs: Sequence[Run],
    sets: Sequence[str],
    variants: Mapping[str, str],
    measures: Mapping[str, str],
    reference: str,
) -> str:
    """Order and twins of all variants on all sets, as Markdown.

    Args:
        runs: Tests.
        sets: Their order.
        variants: Key in ``runs`` to name, in their order.
        measures: Measure to title; sets that lack one have a dash.
        reference: The variant that others are compared with, in the first
            measure and in R@1.
    """
    first, title = next(iter(measures.items()))
    compared = [
        f'{what} against {variants[reference]}' for what in ('R@1', title)
    ]
    lines = []
    for name in sets:
        of_set = [run for run in runs if run['set'] == name]
        rows = {
            variant: [
                run
                for run in of_set
                if run['variant'] == variant and run.get(f'{first}_items')
            ]
            for variant in variants
        }
        rows = {variant: found for variant, found in rows.items() if found}
        if reference not in rows:
            continue
        lines += [
            f'### {name}',
            '',
            f'| | seeds | {" | ".join([*measures.values(), *compared])} |',
            '|---|---|' + '---|' * (len(measures) + 2),
        ]
        base = gather_ranks(rows[reference], f'{first}_items')
        base_ranks = gather_ranks(rows[reference], 'ranks')
        for variant, found in rows.items():
            cells = []
            for measure in measures:
                if not found[0].get(f'{measure}_items'):
                    cells.append('-')
                    continue
                values = gather_ranks(found, f'{measure}_items')
                low, high = interval(values.values, values.folds)
                mean = values.values.mean()
                cells.append(f'{mean:.1f} [{low:.1f}, {high:.1f}]')
            own = gather_ranks(found, f'{first}_items')
            if variant == reference:
                cells += ['-', '-']
            else:
                cells.append(
                    format_difference(gather_ranks(found, 'ranks'), base_ranks)
                )
                seeds = min(own.values.shape[1], base.values.shape[1])
                gap = own.values[:, :seeds] - base.values[:, :seeds]
                low, high = interval(gap, own.folds)
                cells.append(f'{gap.mean():+.1f} [{low:+.1f}, {high:+.1f}]')
            lines.append(
                f'| {variants[variant]} | {own.values.shape[1]} | '
                f'{" | ".join(cells)} |'
            )
        lines.append('')
    return '\n'.join(lines)
