"""Long videos of joined moving shapes, with moments in QVHighlights' format.

``python -m benchmarks.join_shapes FOLDER --videos 40 --clips 12 --seed 0``

writes ``videos/long0.mp4`` and so on, and ``queries.jsonl``. A video joins
clips of moving shapes, each drawn frame shown for a second, so that a clip
takes 6 to 9 seconds. A caption tells two of the three shots of a clip, and its
moment goes from the beginning of the first to the end of the last of them. A
share of the clips is shown twice: their captions have two moments. No caption
is true of another clip of the whole set.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmtvr.datasets.moving_shapes.generation import (
    FRAMES_PER_SECOND,
    write_video,
)
from mmtvr.datasets.moving_shapes.scene import (
    Scene,
    draw_frames,
    draw_scenes,
    tell_pairs,
    write_caption,
)

TWICE = 0.2


def draw_long_videos(
    folder: Path, videos: int, clips: int, seed: int
) -> list[dict]:
    """Write long videos.

    Args:
        folder: Gets ``videos/``.
        videos: How many.
        clips: Different clips of each.
        seed: Everything is drawn from it.

    Returns:
        The queries, records of QVHighlights.
    """
    rng = np.random.default_rng([seed, *b'long'])
    scenes = draw_scenes(videos * clips, rng)
    # Near duplicates stand side by side: each to a video of its own.
    scenes = [scenes[i] for i in rng.permutation(len(scenes))]
    (folder / 'videos').mkdir(parents=True)
    queries: list[dict] = []
    for number in tqdm(range(videos), 'Drawing long videos', unit='video'):
        own = scenes[number * clips : (number + 1) * clips]
        shown = [*range(clips), *np.flatnonzero(rng.random(clips) < TWICE)]
        rng.shuffle(shown)
        frames = [draw_frames(own[clip], rng) for clip in shown]
        ends = np.cumsum([len(each) for each in frames]).tolist()
        name = f'long{number}.mp4'
        # Each for a second, as the model saw neighbours in training.
        still = np.repeat(np.concatenate(frames), FRAMES_PER_SECOND, axis=0)
        write_video(folder / 'videos' / name, still)
        starts = [0, *ends[:-1]]
        for clip, scene in enumerate(own):
            begins = [
                start
                for start, each in zip(starts, shown, strict=True)
                if each == clip
            ]
            queries += [
                dict(
                    qid=len(queries) + place,
                    query=write_caption(tuple(scene[i] for i in told)),
                    vid=name,
                    duration=ends[-1],
                    relevant_windows=[
                        [begin + low, begin + high] for begin in begins
                    ],
                )
                for place, told in enumerate(tell_pairs())
                for low, high in [_span(scene, told)]
            ]
    return queries


def _span(scene: Scene, told: Sequence[int]) -> tuple[int, int]:
    """Seconds in the clip from the first told shot to the end of the last."""
    borders = [0, *np.cumsum([shot.frames for shot in scene]).tolist()]
    spans = list(pairwise(borders))
    return spans[told[0]][0], spans[told[-1]][1]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path)
    parser.add_argument('--videos', type=int, default=40)
    parser.add_argument('--clips', type=int, default=12)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    queries = draw_long_videos(args.folder, args.videos, args.clips, args.seed)
    lines = ''.join(f'{json.dumps(query)}\n' for query in queries)
    (args.folder / 'queries.jsonl').write_text(lines)
    seconds = {query['vid']: query['duration'] for query in queries}
    print(
        f'{len(seconds)} videos of {min(seconds.values())} to '
        f'{max(seconds.values())} s, {len(queries)} queries in '
        f'{args.folder / "queries.jsonl"}'
    )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
