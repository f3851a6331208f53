"""Evaluate scores or embeddings that any system made."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmtvr.datasets.annotations import VideoCaptions, describe_captions
from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import (
    FineGrainedReport,
    read_fine_grained,
    write_fine_grained_report,
)
from mmtvr.evaluation.fine_grained import (
    evaluate_fine_grained as score_fine_grained,
)
from mmtvr.evaluation.formats import SCORES_FORMATS
from mmtvr.evaluation.metrics import write_report
from mmtvr.evaluation.moments import (
    MomentReport,
    read_predictions,
    read_queries,
)
from mmtvr.evaluation.moments import evaluate_moments as compare_moments
from mmtvr.evaluation.moments import to_text as moments_to_text
from mmtvr.evaluation.protocols import TiePolicy, describe_protocol
from mmtvr.evaluation.report import Report, ReportRow, Table, build_report
from mmtvr.evaluation.rescoring import parse_rescorings
from mmtvr.evaluation.run_files import (
    evaluate_run,
    is_run_file,
    read_corpus_size,
    read_qrels,
    read_run,
)
from mmtvr.files import load_arrays, write_atomically

PathLike = str | os.PathLike[str]


def evaluate(
    file: PathLike,
    *,
    match: PathLike | None = None,
    qrels: PathLike | None = None,
    protocol: str | None = None,
    ties: TiePolicy = 'expected',
    rescore: Sequence[str] = (),
    bank: PathLike | None = None,
    about: Mapping[str, str] | None = None,
    out: PathLike | None = None,
) -> Report:
    """Evaluate scores or embeddings that any system made.

    Args:
        file: A ``.npy`` with scores (texts, videos); or a ``.npz`` with
            ``scores``, or with ``text`` and ``video``, embeddings (N, D) to
            be compared by cosine, and optionally ``text_video_ids`` and
            ``video_ids``. Or, with ``qrels``, a run: TREC's lines or JSON
            ``{query: {document: score}}``, as mteb writes its predictions.
        match: A ``.npy`` with the column of each text's video, (texts,), or a
            bool table (texts, videos) with one True per row. Without it and
            without ids in the file, text i belongs to video i.
        qrels: Relevance judgements, as lines of TREC, a ``.tsv`` or
            ``.jsonl`` of BEIR or mteb, JSON, or a folder of BEIR. What holds
            of ties and of documents that the run does not name:
            :func:`mmtvr.evaluation.run_files.evaluate_run`.
        protocol: Name of the protocol that the numbers are compared under,
            such as ``'msrvtt/1k-A'``; checks the numbers of texts and videos.
        ties: How equal scores are ranked.
        rescore: Scores that are also evaluated, ``'NAME:TEMPERATURE'``:
            dual-softmax, sinkhorn, qb-norm; or ``'nnn:ALPHA:K'``.
        bank: For qb-norm and nnn, a ``.npy`` with scores (training texts,
            videos).
        about: Facts to keep with the numbers.
        out: Folder for ``report.txt``, ``.json`` and ``.png``.

    Returns:
        The report; :func:`mmtvr.evaluation.report.to_text` prints it.

    Raises:
        SetupError: A file is missing or of another format, or the scores
            cannot be ranked.

    Example:
        >>> import numpy as np
        >>> np.save(scores, np.eye(4))
        >>> report = evaluate(scores)
        >>> report.rows[0].t2v.measures['R1']
        100.0
    """
    file = Path(file)
    if qrels is not None:
        return _evaluate_run(
            file,
            Path(qrels),
            ties,
            about or {},
            out,
            dict(match=match, protocol=protocol, rescore=rescore, bank=bank),
        )
    if is_run_file(file):
        raise SetupError(
            f'{file} is a run: say which documents are relevant with --qrels'
        )
    table = load_table(file, None if match is None else Path(match))
    texts, videos = table.scores.shape
    scores = None if bank is None else load_bank(Path(bank), videos)
    facts = {'file': str(file), **_describe_captions(file, table)}
    try:
        if protocol:
            facts |= describe_protocol(protocol, texts, videos)
        facts |= about or {}
        rescorings = parse_rescorings(rescore, scores)
        report = build_report(table, rescorings, facts, ties)
    except ValueError as error:
        raise SetupError(f'{file}: {error}') from error
    if out is not None:
        write_report(Path(out), report, table, protocol or file.name)
    return report


def _describe_captions(file: Path, table: Table) -> dict[str, str]:
    """What the captions of a file say about it, if it holds them."""
    if file.suffix != '.npz':
        return {}
    with np.load(file, allow_pickle=False) as content:
        if 'texts' not in content:
            return {}
        texts = content['texts'].astype(str).tolist()
    if len(texts) != len(table.scores):
        return {}
    captions = defaultdict(list)
    for video, text in zip(table.text_video_ids.tolist(), texts, strict=True):
        captions[video].append(text)
    return describe_captions(
        [VideoCaptions(str(v), tuple(each)) for v, each in captions.items()]
    )


def _evaluate_run(
    file: Path,
    qrels: Path,
    ties: TiePolicy,
    about: Mapping[str, str],
    out: PathLike | None,
    unused: Mapping[str, object],
) -> Report:
    """Evaluate a run against judgements; see :func:`evaluate`."""
    for name, value in unused.items():
        if value:
            raise SetupError(f'--{name} does not go with --qrels')
    run, judged = read_run(file), read_qrels(qrels)
    found = evaluate_run(run, judged, ties, read_corpus_size(qrels))
    facts = {'file': str(file), 'qrels': str(qrels)}
    missing = sum(query not in run for query in judged)
    extra = sum(query not in judged for query in run)
    if missing or extra:
        facts['queries'] = (
            f'{missing} judged ones are not in the run and count as failed '
            f'if they have a relevant document; {extra} in the run are not '
            'judged and do not count'
        )
    facts['not in the run'] = (
        'documents that earn nothing in R@k, mAP and NDCG; for MdR and MnR '
        'in random order behind the others'
    )
    row = ReportRow('raw', False, found, None)
    report = Report({**facts, **about}, ties, [row])
    if out is not None:
        write_report(Path(out), report, None, file.name)
    return report


def evaluate_fine_grained(
    file: PathLike, captions: PathLike, *, out: PathLike | None = None
) -> FineGrainedReport:
    """Evaluate scores of any system on partial captions and twins.

    Args:
        file: A ``.npy`` with scores (texts, videos), rows and columns in the
            order of the set; or a ``.npz`` as for :func:`evaluate`, whose
            ``texts``, if it has them, name its rows, and whose ``video_ids``
            its columns.
        captions: The JSON file of the set, see
            :mod:`mmtvr.evaluation.fine_grained`.
        out: Folder for ``fine_grained.json`` and ``fine_grained.txt``.

    Returns:
        The report; :func:`mmtvr.evaluation.fine_grained.to_text` prints it.

    Raises:
        SetupError: A file is missing or of another format, or lacks a
            caption of the set.
    """
    path = Path(file)
    known = read_fine_grained(captions)
    content = load_arrays(path, SCORES_FORMATS)
    if isinstance(content, np.ndarray):
        content = {'scores': content}
    scores = _read_scores(path, content)
    ids = None
    if 'video_ids' in content:
        ids = _to_ids(path, 'video_ids', content['video_ids'])
    if 'texts' in content:
        rows = {str(text): row for row, text in enumerate(content['texts'])}
        absent = [text for text in known.texts if text not in rows]
        if absent:
            raise SetupError(
                f'{path} has no scores of {len(absent)} of '
                f'{len(known.texts)} texts of {captions}; the first is '
                f'{absent[0]!r}'
            )
        scores = scores[[rows[text] for text in known.texts]]
    try:
        report = score_fine_grained(known, scores, ids)
    except ValueError as error:
        raise SetupError(f'{path}: {error}') from error
    if out is not None:
        write_fine_grained_report(Path(out), report)
    return report


def evaluate_moments(
    file: PathLike, truth: PathLike, *, out: PathLike | None = None
) -> MomentReport:
    """Evaluate predicted moments of any system, in QVHighlights' files.

    Args:
        file: Predictions, lines of JSON with ``qid`` and
            ``pred_relevant_windows``, ``[[start, end, score], ...]``.
        truth: Queries, lines of JSON with ``qid``, ``query``, ``vid``,
            ``duration`` and ``relevant_windows``, ``[[start, end], ...]``.
        out: Folder for ``moments.json`` and ``moments.txt``.

    Returns:
        The report; :func:`mmtvr.evaluation.moments.to_text` prints it.

    Raises:
        SetupError: A file is missing or of another format; names the line.
    """
    report = compare_moments(read_queries(truth), read_predictions(file))
    if out is not None:
        content = json.dumps(report.as_dict(), indent=2) + '\n'
        write_atomically(Path(out) / 'moments.json', content)
        text = moments_to_text(report) + '\n'
        write_atomically(Path(out) / 'moments.txt', text)
    return report


def _to_tensor(path: Path, name: str, array: object) -> Tensor:
    """Turn an array of floating point numbers into a tensor."""
    if not isinstance(array, np.ndarray) or array.dtype.kind != 'f':
        kind = getattr(array, 'dtype', type(array).__name__)
        raise SetupError(
            f'{name} in {path} are {kind}, expected floating point numbers'
        )
    return torch.from_numpy(_native(array))


def _to_ids(path: Path, name: str, array: np.ndarray) -> Tensor:
    """Turn a vector of integers into an int64 tensor."""
    if array.ndim != 1 or array.dtype.kind not in 'iu':
        raise SetupError(
            f'{name} in {path} are {array.dtype} of shape {array.shape}, '
            'expected a vector of integers'
        )
    return torch.from_numpy(array.astype(np.int64))


def _native(array: np.ndarray) -> np.ndarray:
    """Byte order and width that PyTorch has."""
    kind = f'f{min(array.dtype.itemsize, 8)}'
    return np.ascontiguousarray(array, dtype=kind)


def _read_scores(path: Path, content: dict[str, np.ndarray]) -> Tensor:
    """Take or compute the scores (texts, videos), at least one of each."""
    if 'scores' in content:
        scores = _to_tensor(path, 'scores', content['scores'])
        if scores.ndim != 2 or not scores.numel():
            raise SetupError(
                f'scores in {path} are {scores.dtype} of shape '
                f'{tuple(scores.shape)}; expected a floating point table '
                '(texts, videos)'
            )
        return scores
    if {'text', 'video'} <= set(content):
        text, video = (
            _to_tensor(path, f'embeddings "{name}"', content[name]).float()
            for name in ('text', 'video')
        )
        if text.ndim != 2 or text.shape[1:] != video.shape[1:]:
            raise SetupError(
                f'embeddings in {path} have shapes {tuple(text.shape)} and '
                f'{tuple(video.shape)}; expected (texts, D) and (videos, D)'
            )
        if not text.numel() or not video.numel():
            raise SetupError(f'{path} holds no text or no video')
        return normalize(text, dim=-1) @ normalize(video, dim=-1).T
    raise SetupError(
        f'{path} holds {sorted(content)}; expected {SCORES_FORMATS}'
    )


def read_match(path: Path, texts: int, videos: int) -> Tensor:
    """Read which video belongs to each text.

    Args:
        path: A .npy with column numbers (texts,), or a bool table (texts,
            videos) with one True per row.
        texts: Number of texts.
        videos: Number of videos.

    Returns:
        Shape (texts,), int64, columns.

    Raises:
        SetupError: It is something else.
    """
    match = load_arrays(path, SCORES_FORMATS)
    if isinstance(match, np.ndarray):
        if match.dtype == bool and match.shape == (texts, videos):
            if (match.sum(1) != 1).any():
                row = int((match.sum(1) != 1).argmax())
                raise SetupError(
                    f'{path}: row {row} has {int(match[row].sum())} videos, '
                    'expected one video for each text'
                )
            return torch.from_numpy(match.argmax(1))
        if match.dtype.kind in 'iu' and match.shape == (texts,):
            if match.min() < 0 or match.max() >= videos:
                raise SetupError(
                    f'{path} names columns {match.min()} to {match.max()}, '
                    f'but there are {videos} videos'
                )
            return torch.from_numpy(match.astype(np.int64))
    raise SetupError(
        f'{path} must hold {texts} column numbers, or a bool table '
        f'({texts}, {videos})'
    )


def load_bank(path: Path, videos: int) -> Tensor:
    """Read a query bank for QB-Norm and NNN.

    Args:
        path: A .npy with scores (training texts, videos).
        videos: Number of videos.

    Returns:
        The scores.

    Raises:
        SetupError: The file is missing or of another shape.
    """
    bank = load_arrays(path, SCORES_FORMATS)
    if not isinstance(bank, np.ndarray) or bank.shape[1:] != (videos,):
        raise SetupError(f'{path} must be a table (training texts, {videos})')
    if not len(bank):
        raise SetupError(f'{path} holds no training text')
    return _to_tensor(path, 'scores', bank)


def load_table(path: Path, match: Path | None = None) -> Table:
    """Read scores or embeddings.

    Args:
        path: See :func:`evaluate`.
        match: Likewise.

    Returns:
        The table.

    Raises:
        SetupError: A file is missing, of another format, or does not say
            which text belongs to which video.
    """
    content = load_arrays(path, SCORES_FORMATS)
    if isinstance(content, np.ndarray):
        content = {'scores': content}
    scores = _read_scores(path, content)
    texts, videos = scores.shape
    video_ids = torch.arange(videos)
    if match is not None:
        return Table(scores, read_match(match, texts, videos), video_ids)
    if 'text_video_ids' in content:
        content.setdefault('video_ids', video_ids.numpy())
        ids = tuple(
            _to_ids(path, name, content[name])
            for name in ('text_video_ids', 'video_ids')
        )
        if tuple(map(len, ids)) != (texts, videos):
            raise SetupError(
                f'{path} has {len(ids[0])} and {len(ids[1])} ids for '
                f'{texts} texts and {videos} videos'
            )
        return Table(scores, *ids)
    if texts != videos:
        raise SetupError(
            f'{path} has {texts} texts and {videos} videos and does not say '
            'which belong together: give --match FILE.npy with the column of '
            "each text's video, or text_video_ids in the npz"
        )
    return Table(scores, video_ids, video_ids)
