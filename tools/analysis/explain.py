"""Draw why a text and a video have their score.

``python tools/analysis/explain.py VIDEO "a text" --config CONFIG --checkpoint
CHECKPOINT --out why.png`` draws the frames as the model sees them, the cosine
of each word with each frame, how much each word counts, what the score is
made of, and, where the config trains with TPM-CL, how important it takes
words and frames to be and which ones it would mask. With ``--index INDEX``
the videos of an index that come closest to it or beat it are drawn as well;
an index knows its config and checkpoint, which need not be given then.
``--out`` may end in .png, .svg or .pdf and may be given several times.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
from mmtvr.cli.command import run_command
from mmtvr.errors import SetupError
from mmtvr.explanation import (
    ExplainedSample,
    Scene,
    explain_sample,
    find_piece_names,
)
from mmtvr.visualization.explanation import draw_explanation, save_figure


def load_searcher(args: argparse.Namespace) -> TextVideoSearcher:
    """Load the model that the command line names.

    Args:
        args: The arguments.

    Returns:
        A searcher, with the index open if one is given.

    Raises:
        SetupError: Neither a config nor an index is given.
    """
    if args.config is None:
        if args.index is None:
            raise SetupError(
                'say which model to explain: --config CONFIG --checkpoint '
                'CHECKPOINT, or --index INDEX, which knows its own'
            )
        return open_searcher(args.index, args.checkpoint, args.device)
    searcher = TextVideoSearcher(args.config, args.checkpoint, args.device)
    return searcher.open(args.index) if args.index else searcher


def explain(
    searcher: TextVideoSearcher, video: str, text: str
) -> ExplainedSample:
    """Explain a score.

    Args:
        searcher: The model.
        video: The video file.
        text: The text.

    Returns:
        What can be drawn.

    Raises:
        SetupError: The video cannot be read.
    """
    pipelines = searcher.encoder.pipelines
    asked = pipelines.text(dict(text=[text]))
    seen = pipelines.video(dict(filename=video))
    about = seen['data_samples']
    about.set_metainfo(dict(text=[text]))
    sample = dict(
        inputs={**seen['inputs'], **asked['inputs']}, data_samples=about
    )
    return explain_sample(
        searcher.encoder.model, sample, find_piece_names(pipelines.text)
    )


def find_negatives(
    searcher: TextVideoSearcher, video: str, text: str, count: int
) -> Iterator[Scene]:
    """Find the videos of the open index that are most like a text.

    Args:
        searcher: The model and the index.
        video: The video that is explained; not among them.
        text: The text.
        count: How many.

    Yields:
        The videos, the hardest first.
    """
    others = [
        result
        for result in searcher.search(text, top_k=count + 1)
        if result.path != os.path.abspath(video)
    ]
    for result in others[:count]:
        span = dict(start=result.start, end=result.end)
        span = {key: each for key, each in span.items() if each is not None}
        seen = searcher.encoder.pipelines.video(
            dict(filename=result.path, **span)
        )
        frames = seen['inputs']['frames'].numpy().transpose(0, 2, 3, 1)
        times = seen['data_samples'].get('frame_times')
        yield Scene(
            name=Path(result.path).name,
            frames=frames,
            times=() if times is None else tuple(times),
            score=result.score,
        )


def main() -> None:
    """Draw as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('video')
    parser.add_argument('text')
    parser.add_argument('--config')
    parser.add_argument('--checkpoint', help='a file or a work folder')
    parser.add_argument('--index', help='to find the hardest negatives in')
    parser.add_argument(
        '--negatives', type=int, default=3, help='how many (default 3)'
    )
    parser.add_argument('--device', help='cpu, cuda or cuda:1')
    parser.add_argument(
        '--out', type=Path, action='append', help='default: explanation.png'
    )
    args = parser.parse_args()
    if not Path(args.video).is_file():
        raise SetupError(
            f'there is no video {args.video} (looked from {Path.cwd()})'
        )
    searcher = load_searcher(args)
    found = explain(searcher, args.video, args.text)
    negatives: list[Scene] = []
    if args.index:
        negatives += find_negatives(
            searcher, args.video, args.text, args.negatives
        )
    figure = draw_explanation(*found, negatives)
    for out in args.out or [Path('explanation.png')]:
        save_figure(figure, out)
        print(out)


if __name__ == '__main__':
    sys.exit(run_command(main, 'nothing was written'))
