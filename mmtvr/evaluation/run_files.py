"""Runs and relevance judgements in the files of TREC, BEIR and mteb."""

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmtvr.errors import SetupError, first_line
from mmtvr.evaluation.formats import QRELS_FORMATS, RUN_FORMATS
from mmtvr.evaluation.protocols import TIE_POLICIES, TiePolicy
from mmtvr.evaluation.ranking import (
    BLOCK_CELLS,
    Placement,
    average_precision,
    bootstrap_interval,
    hits,
    mean,
    ndcg,
    place,
    ranks,
)
from mmtvr.evaluation.report import TOPK, DirectionReport

QRELS_IN_FOLDER = ('qrels/test.tsv', 'qrels/test.jsonl', 'qrels.jsonl')
COLUMNS = ('query-id', 'corpus-id', 'score')
#: By query, a number of each document.
Judged = dict[str, dict[str, float]]


def is_run_file(path: Path) -> bool:
    """Whether the name of a file says that it is a run."""
    return path.suffix in ('.json', '.run', '.trec', '.txt')


def read_run(path: Path) -> Judged:
    """Read the scores of documents by query.

    Ranks in the file do not count, as in trec_eval: scores decide.

    Args:
        path: See ``RUN_FORMATS``.

    Raises:
        SetupError: It is missing, of another format, names a document twice
            for a query, or a score is not finite.
    """
    if path.suffix == '.json':
        return _read_json(path, RUN_FORMATS)
    found: Judged = {}
    for number, line in _lines(path, RUN_FORMATS):
        fields = line.split()
        if len(fields) != 6:
            raise SetupError(
                f'{path}, line {number}: {len(fields)} fields, expected '
                f'{RUN_FORMATS}'
            )
        query, _, document, _, score, _ = fields
        _put(found, query, document, score, f'{path}, line {number}')
    return _require_some(found, path, RUN_FORMATS)


def read_qrels(path: Path) -> Judged:
    """Read which documents are relevant to a query.

    Args:
        path: See ``QRELS_FORMATS``.

    Raises:
        SetupError: It is missing, of another format, or judges a document
            twice for a query.
    """
    if path.is_dir():
        inside = [path / name for name in QRELS_IN_FOLDER]
        path = next((each for each in inside if each.is_file()), inside[0])
    if path.suffix == '.json':
        return _read_json(path, QRELS_FORMATS)
    found: Judged = {}
    for number, fields in _qrels_fields(path):
        if len(fields) != 3 or None in fields:
            raise SetupError(
                f'{path}, line {number}: expected {QRELS_FORMATS}'
            )
        query, document, relevance = fields
        where = f'{path}, line {number}'
        _put(found, query, document, relevance, where)
    return _require_some(found, path, QRELS_FORMATS)


def _qrels_fields(path: Path) -> Iterator[tuple[int, list[Any]]]:
    """Number of the line; query, document and relevance."""
    lines = _lines(path, QRELS_FORMATS)
    if path.suffix == '.jsonl':
        for number, line in lines:
            row = _parse(line, f'{path}, line {number}')
            yield number, [row.get(name) for name in COLUMNS]
    elif path.suffix == '.tsv':
        for number, fields in enumerate(
            csv.reader((line for _, line in lines), delimiter='\t'), 1
        ):
            if number > 1 or tuple(fields) != COLUMNS:
                yield number, list(fields)
    else:
        for number, line in lines:
            query, *rest = line.split()
            yield number, [query, *rest[1:]]


def read_corpus_size(path: Path) -> int | None:
    """Count the documents of a folder with qrels; None for a file alone."""
    corpus = path / 'corpus.jsonl'
    if not corpus.is_file():
        return None
    return sum(1 for _ in _lines(corpus, 'a document per line'))


def evaluate_run(
    run: Mapping[str, Mapping[str, float]],
    qrels: Mapping[str, Mapping[str, float]],
    ties: TiePolicy = 'expected',
    items: int | None = None,
) -> DirectionReport:
    """Evaluate a run, of which each query may name other documents.

    A document is relevant from 1 on. Judged queries without a document in
    the run count as failed; queries that nobody judged, or without a relevant
    document, do not count. Recall at k is the share of queries with a
    relevant document among the first k (``success`` of trec_eval). A document
    that the run does not name earns nothing in R@k, mAP and NDCG@10, as in
    trec_eval; for MdR and MnR the relevant ones among those stand in random
    order behind the named.

    Args:
        run: By query, documents and scores.
        qrels: By query, documents and relevance.
        ties: How equal scores are ranked; ``expected`` is the mean over all
            orders, where trec_eval sorts by the names of documents.
        items: Documents there are; None for all that either names.

    Raises:
        SetupError: No query has a relevant document, or there are fewer
            documents than are named.
    """
    relevant = {
        query: {name for name, value in judged.items() if value >= 1}
        for query, judged in qrels.items()
    }
    queries = [query for query, names in relevant.items() if names]
    if not queries:
        raise SetupError('no query of the judgements has a relevant document')
    named = {name for query in queries for name in run.get(query, ())}
    named |= {name for query in queries for name in relevant[query]}
    items = len(named) if items is None else items
    if items < len(named):
        raise SetupError(
            f'the run and the judgements name {len(named)} documents, but '
            f'the corpus has {items}'
        )
    columns = {name: number for number, name in enumerate(sorted(named))}
    rows = max(1, BLOCK_CELLS // items)
    blocks = []
    for start in range(0, len(queries), rows):
        part = queries[start : start + rows]
        scores, match = _tabulate(part, run, relevant, columns, items)
        blocks.append(_measure(scores, match, ties))
    fields = zip(*(placement for placement, _ in blocks), strict=True)
    placement = Placement(*(torch.cat(field) for field in fields))
    values = {
        name: torch.cat([each[name] for _, each in blocks])
        for name in blocks[0][1]
    }
    found = values.pop('found')
    report = DirectionReport(
        queries=len(queries),
        items=items,
        measures=_summarise(placement, found, ties)
        | {name: mean(values[name]) for name in ('mAP', 'NDCG10')},
        intervals={
            name: bootstrap_interval(
                each, 'median' if name == 'MdR' else 'mean'
            )
            for name, each in (
                values | _per_query(placement, found, ties)
            ).items()
        },
        tie_share=mean(((placement.tied > 0) & (found > 0)).double()),
    )
    if report.tie_share:
        report.policies = {
            policy: _summarise(placement, found, policy)
            for policy in TIE_POLICIES
        }
    return report


def _tabulate(
    queries: list[str],
    run: Mapping[str, Mapping[str, float]],
    relevant: Mapping[str, set[str]],
    columns: Mapping[str, int],
    items: int,
) -> tuple[Tensor, Tensor]:
    """Scores (Q, N), -inf where the run names no document, and matches."""
    scores = torch.full((len(queries), items), -math.inf, dtype=torch.float64)
    match = torch.zeros(len(queries), items, dtype=torch.bool)
    for row, query in enumerate(queries):
        for name, score in run.get(query, {}).items():
            scores[row, columns[name]] = score
        for name in relevant[query]:
            match[row, columns[name]] = True
    return scores, match


def _measure(
    scores: Tensor, match: Tensor, ties: TiePolicy
) -> tuple[Placement, dict[str, Tensor]]:
    named = scores.isfinite()
    # All others tie behind the last one.
    lowest = scores.masked_fill(~named, math.inf).amin(1, keepdim=True)
    below = lowest.nan_to_num(posinf=0.0)
    below = below.nextafter(torch.full_like(below, -math.inf))
    scores = torch.where(named, scores, below)
    right = match & named
    share = right.sum(1) / match.sum(1)
    precision = average_precision(scores, right, ties).nan_to_num()
    gain = _gain(right.sum(1)) / _gain(match.sum(1))
    found = right.any(1)
    ordered = scores.new_zeros(len(scores))
    if found.any():
        ordered[found] = ndcg(scores[found], right[found], 10, ties)
    return place(scores, match), dict(
        found=found.double(),
        mAP=100 * precision * share,
        NDCG10=100 * ordered * gain,
    )


def _gain(count: Tensor) -> Tensor:
    """Largest cumulative gain at 10 with this many right answers."""
    discount = 1 / (torch.arange(10, dtype=torch.float64) + 2).log2()
    total = torch.cat([discount.new_zeros(1), discount.cumsum(0)])
    return total[count.clamp(max=10)]


def _per_query(
    placement: Placement, found: Tensor, ties: TiePolicy
) -> dict[str, Tensor]:
    values = {f'R{k}': 100 * hits(placement, k, ties) * found for k in TOPK}
    values['MdR'] = values['MnR'] = ranks(placement, ties)
    return values


def _summarise(
    placement: Placement, found: Tensor, ties: TiePolicy
) -> dict[str, float]:
    values = _per_query(placement, found, ties)
    report = {name: mean(each) for name, each in values.items()}
    order = values['MdR'].sort().values
    middle = order[(len(order) - 1) // 2] + order[len(order) // 2]
    return report | {'MdR': middle.item() / 2}


def _lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Lines of a text file that are not empty, with their number."""
    if not path.is_file():
        raise SetupError(
            f'there is no file {path} (from {Path.cwd()}); expected {expected}'
        )
    try:
        with path.open(encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise SetupError(f'{path} is no text; expected {expected}') from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SetupError(f'{where}: no JSON, {first_line(error)}') from error
    if not isinstance(content, dict):
        raise SetupError(f'{where}: expected a JSON object')
    return content


def _read_json(path: Path, expected: str) -> Judged:
    text = ''.join(line for _, line in _lines(path, expected))
    content = _parse(text, str(path))
    if content.pop('mteb_model_meta', None) is not None:
        # By subset and split.
        splits = [
            split
            for subset in content.values()
            for split in (subset.values() if isinstance(subset, dict) else ())
        ]
        if len(splits) != 1:
            raise SetupError(
                f'{path} has predictions of {len(splits)} splits, expected one'
            )
        content = splits[0]
    found: Judged = {}
    for query, judged in content.items():
        if not isinstance(judged, dict):
            raise SetupError(f'{path}, {query!r}: expected {expected}')
        found[query] = {}
        for document, value in judged.items():
            _put(found, query, document, value, f'{path}, {query!r}')
    return _require_some(found, path, expected)


def _put(
    found: Judged, query: Any, document: Any, value: Any, where: str
) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SetupError(f'{where}: {value!r} is no finite number')
    of_query = found.setdefault(str(query), {})
    if str(document) in of_query:
        raise SetupError(
            f'{where}: document {document!r} stands there twice for query '
            f'{query!r}'
        )
    of_query[str(document)] = number


def _require_some(found: Judged, path: Path, expected: str) -> Judged:
    if not found:
        raise SetupError(f'{path} is empty; expected {expected}')
    return found
