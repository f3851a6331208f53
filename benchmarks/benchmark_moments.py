"""Moments that an index finds, against the right ones.

``python -m benchmarks.benchmark_moments INDEX QUERIES.jsonl --out FOLDER``

The queries are in QVHighlights' format, ``vid`` names a file of the index.
Each query asks its own video, by several ways whose predictions are written to
FOLDER and evaluated as ``mmtvr evaluate --moments`` does:

* whole: the video from its beginning to its end;
* frames of the whole: moments from the frames of the whole video alone, as in
  an index without windows;
* windows: the windows as they are, by the score of the head;
* moments: those of ``find_moments``.

Then all videos are asked, and the first moment of the first result counts if
it is of the right video.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.measuring import report
from mmtvr.apis import open_searcher
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.evaluation.moments import (
    RECALL_IOUS,
    MomentQuery,
    evaluate_moments,
    read_queries,
    temporal_iou,
    write_predictions,
)
from mmtvr.search.moments import MAX_MOMENTS, find_moments
from mmtvr.search.query import lay_out_video, to_features
from mmtvr.search.stores.base import StoredVideos, window_number

Spans = list[tuple[float, float, float]]


def find_spans(
    searcher: TextVideoSearcher, query: MomentQuery, videos: StoredVideos
) -> dict[str, Spans]:
    """Spans of one video, by way; ``videos`` is the whole and its windows."""
    encoder, store = searcher.encoder, searcher.store
    text = encoder.extract_texts([query.query]).to('cpu')
    info = store.require_info()
    found: dict[str, Spans] = dict(whole=[(0.0, query.duration, 1.0)])
    for way, rows in {
        'frames of the whole': videos.select([0]),
        'moments': videos,
    }.items():
        timeline = lay_out_video(store, encoder, text, rows)
        found[way] = [
            (each.start, each.end, each.score)
            for each in find_moments(timeline)
        ]
    scores = encoder.score(text, to_features(videos))[0].numpy()[1:]
    step = info['window'] - info['overlap']
    found['windows'] = []
    for row in np.argsort(-scores, kind='stable')[:MAX_MOMENTS]:
        start = step * window_number(videos.contents[1 + row])
        end = min(start + info['window'], query.duration)
        found['windows'].append((start, end, float(scores[row])))
    return found


def search_all(
    searcher: TextVideoSearcher, queries: Sequence[MomentQuery]
) -> dict[str, float]:
    """Percent of queries whose first result is right, and its moment too."""
    is_right, ious = [], []
    started = time.perf_counter()
    for query in queries:
        (best,) = searcher.search(query.query, top_k=1, moments=True)
        is_right.append(Path(best.path).name == query.vid)
        first = best.moments[0]
        span = np.array([[first.start, first.end]])
        iou = temporal_iou(span, query.windows).max()
        ious.append(iou if is_right[-1] else 0.0)
    seconds = time.perf_counter() - started
    measured = {
        f'R1@{iou}': 100 * float(np.mean(np.array(ious) >= iou))
        for iou in RECALL_IOUS
    }
    return {
        'video first': 100 * float(np.mean(is_right)),
        **measured,
        'ms / query': 1000 * seconds / len(queries),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the index that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('index')
    parser.add_argument('queries', type=Path)
    parser.add_argument('--out', type=Path, required=True)
    args = parser.parse_args(argv)
    searcher, queries = open_searcher(args.index), read_queries(args.queries)
    files = {
        Path(each.path).name: each for each in searcher.store.list_files()
    }
    if not all(query.vid in files for query in queries):
        parser.error(f'{args.index} lacks videos of {args.queries}')
    predicted: dict[str, dict] = {}
    for query in queries:
        videos = searcher.store.read_videos(files[query.vid].contents)
        for way, spans in find_spans(searcher, query, videos).items():
            predicted.setdefault(way, {})[query.qid] = np.array(spans)
    rows = []
    for way, spans in predicted.items():
        path = args.out / f'{way.replace(" ", "_")}.jsonl'
        write_predictions(path, queries, spans)
        full = evaluate_moments(queries, spans).row()
        rows.append(
            {
                'way': way,
                **{f'R1@{k}': f'{v:.1f}' for k, v in full.recall.items()},
                'mAP@0.5': f'{full.precision[0.5]:.1f}',
                'mAP@0.75': f'{full.precision[0.75]:.1f}',
                'mAP avg': f'{full.average:.1f}',
            }
        )
    title = f'{len(queries)} queries, each in its own video'
    report(title, rows, 'cpu', args.out / 'moments.json')
    measured = search_all(searcher, queries)
    row = {name: f'{value:.1f}' for name, value in measured.items()}
    title = f'{len(queries)} queries among {len(files)} videos'
    report(title, [row], 'cpu', args.out / 'search.json')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
