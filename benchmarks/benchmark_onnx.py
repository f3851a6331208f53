"""Time a caption and a video in PyTorch and in onnxruntime.

``python -m benchmarks.benchmark_onnx`` on the tiny CLIP that ships with
mmtvr; ``--folder FOLDER`` on a folder of ``mmtvr export``; ``--size base`` on
a CLIP of the size of ViT-B/32 with random weights, which take as long as
trained ones. What is timed is the model alone, from word pieces and frames to
features; reading and tokenizing are the same for both. The two take turns on
one thread, and CPU time is reported, which other work on the machine hardly
changes.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import onnxruntime
import torch
from mmengine.config import Config

from benchmarks.measuring import report
from mmtvr.apis import Retriever
from mmtvr.apis.onnx_export import export_onnx, text_side, video_side
from mmtvr.config import load_config
from mmtvr.pretrained import copy_settings, load_pretrained

SHAPES = 'configs/dmae_moving_shapes.py'
ROWS = (1, 16)


def make_base(folder: Path) -> Retriever:
    """A retriever with the towers of ViT-B/32, weights drawn, 12 frames."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel

    shipped = 'mmtvr://moving-shapes-clip'
    load_pretrained(AutoTokenizer, shipped)
    copy_settings(shipped, folder)
    (folder / 'weights_elsewhere.txt').unlink()
    settings = json.loads((folder / 'tokenizer_config.json').read_text())
    (folder / 'tokenizer_config.json').write_text(
        json.dumps(settings | dict(model_max_length=77))
    )
    CLIPModel(CLIPConfig(projection_dim=512)).save_pretrained(folder)
    config = load_config('configs/clip4clip_msrvtt.py')
    text = str(folder)
    config = Config.fromstring(
        config.pretty_text.replace('openai/clip-vit-base-patch32', text), '.py'
    )
    return Retriever.from_config(config, device='cpu')


def main() -> None:
    """Export, time and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', type=Path)
    parser.add_argument('--size', choices=('tiny', 'base'), default='tiny')
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--out', type=Path, help='a JSON file of the result')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if args.folder:
            retriever = Retriever.from_pretrained(args.folder, device='cpu')
        elif args.size == 'base':
            retriever = make_base(Path(scratch, 'clip'))
        else:
            retriever = Retriever.from_config(
                'configs/clip4clip_moving_shapes.py', device='cpu'
            )
        graphs = Path(scratch, 'onnx')
        worst = max(export_onnx(retriever, graphs).values())
        rows = [
            measure(retriever, side, graphs, count, args.repeats)
            for side in ('text', 'video')
            for count in ROWS
        ]
    print(f'largest difference: {worst:.1e}')
    report(f'{args.folder or args.size}, ms each', rows, 'cpu', args.out)


def measure(
    retriever: Retriever,
    side: str,
    graphs: Path,
    count: int,
    repeats: int,
) -> dict[str, Any]:
    """Median milliseconds per row, of batches of ``count``."""
    made = dict(text=text_side, video=video_side)[side](retriever)
    inputs = {
        name: each[:1].repeat(count, *[1] * (each.ndim - 1))
        for name, each in made.inputs.items()
    }
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graphs / f'{side}_pooled.onnx',
        options,
        providers=['CPUExecutionProvider'],
    )
    feed = {name: each.numpy() for name, each in inputs.items()}

    def in_torch() -> None:
        with torch.inference_mode():
            made.module(*inputs.values())

    tasks = dict(torch=in_torch, onnx=lambda: session.run(None, feed))
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats + 1):
        for name, task in tasks.items():
            seconds[name].append(_time(task))
    torch_ms, onnx_ms = (
        1000 * median(each[1:]) / count for each in seconds.values()
    )
    return {
        'what': f'{side}, {count} at a time',
        'PyTorch (ms each)': round(torch_ms, 2),
        'onnxruntime (ms each)': round(onnx_ms, 2),
        'PyTorch / onnxruntime': round(torch_ms / onnx_ms, 2),
    }


def _time(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


if __name__ == '__main__':
    main()
