"""Peak memory of a training step of every shipped recipe, estimated.

``python -m benchmarks.plan_memory`` builds the model of each recipe from
configurations of CLIP, without weights, and runs its loss on fake tensors,
which have a shape and a type but no content. What autograd saves for backward
is counted exactly, each storage once, under bfloat16 autocast too. To it come
weights, gradients and AdamW's moments, 4 bytes each of every parameter that
learns. Workspace, fragmentation and gradients of activations are not counted:
leave a tenth.

Recipes that are alike in model, words, frames and batch share a row. Those
whose encoder is only known by its name on the hub are left out.
"""

import argparse
import sys
from collections import defaultdict
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CLIPConfig

from benchmarks.measuring import report
from benchmarks.synthetic import draw_batch
from mmtvr.models import temporal
from mmtvr.models.encoders import clip
from mmtvr.ops import removal
from mmtvr.pretrained import load_pretrained
from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
PATCHES = {
    'openai/clip-vit-base-patch32': 32,
    'openai/clip-vit-base-patch16': 16,
}
#: Bytes of a parameter that learns: weight, gradient, two moments.
LEARNED = 16
SETTINGS = {
    'float32': (False, False),
    'bf16': (True, False),
    'bf16, checkpointing': (True, True),
}


def load_shape(loader: type, name: str, **kwargs: Any) -> nn.Module:
    """A tower of CLIP with its sizes and without its weights."""
    if name in PATCHES:
        config = CLIPConfig(vision_config=dict(patch_size=PATCHES[name]))
    else:
        config = load_pretrained(CLIPConfig, name)
    part = config.text_config
    if 'Vision' in loader.__name__:
        part = config.vision_config
    part.projection_dim = config.projection_dim
    attention = kwargs.get('attn_implementation', 'sdpa')
    return loader._from_config(part, attn_implementation=attention)


def estimate(
    model: Config,
    batch: int,
    words: int,
    frames: int,
    bfloat16: bool = False,
    checkpointing: bool = False,
) -> tuple[int, int]:
    """Bytes of a training step: of the parameters, and saved for backward.

    Args:
        model: Config of the model.
        batch: Pairs of a step on one GPU.
        words: Word pieces of a caption.
        frames: Frames of a video.
        bfloat16: Under autocast.
        checkpointing: With gradient checkpointing in both towers.
    """
    model = deepcopy(model)
    if checkpointing:
        for side in ('text_encoder', 'frame_encoder'):
            model[side].gradient_checkpointing = True
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        for module in (clip, temporal):
            stack.enter_context(
                patch.object(module, 'load_pretrained', load_shape)
            )
        # What is left of a caption depends on its content.
        stack.enter_context(
            patch.object(removal, 'longest_row', lambda keep: keep.shape[-1])
        )
        built = MODELS.build(model).train()
        size = built.frame_encoder.clip.config.image_size
        inputs = draw_batch(20, batch, words, frames, size, 'cpu')
        stack.enter_context(
            torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x)
        )
        stack.enter_context(
            torch.autocast('cpu', torch.bfloat16, enabled=bfloat16)
        )
        losses = built(inputs, mode='loss')
        del losses
        parameters = list(built.parameters())
    own = {p.untyped_storage()._cdata for p in parameters}
    activations = sum(s.nbytes() for k, s in saved.items() if k not in own)
    fixed = sum(
        p.numel() * (LEARNED if p.requires_grad else 4) for p in parameters
    )
    return fixed, activations


def find_recipes(folder: Path) -> dict[tuple, list[str]]:
    """Recipes by what their memory depends on.

    Returns:
        From batch, words, frames and the text of the model to names.
    """
    found = defaultdict(list)
    for path in sorted(folder.glob('*.py')):
        config = Config.fromfile(path)
        if 'encoder' in config.model:
            continue
        dataset = config.train_dataloader.dataset
        steps = {step['type']: step for step in dataset.pipeline}
        sizes = (
            config.train_dataloader.batch_size,
            steps['mmtvr.TokenizeText']['max_words'],
            steps['mmtvr.LoadVideoFrames']['num_frames'],
        )
        text = Config(config.model.to_dict()).pretty_text
        found[(*sizes, text)].append(path.stem)
    return found


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--configs', type=Path, default=ROOT / 'configs')
    parser.add_argument('--out', type=Path)
    args = parser.parse_args()
    init_default_scope('mmtvr')
    rows = []
    for (batch, words, frames, _), names in find_recipes(args.configs).items():
        model = Config.fromfile(args.configs / f'{names[0]}.py').model
        row = {
            'recipes': ', '.join(names),
            'batch': batch,
            'words / frames': f'{words} / {frames}',
        }
        for title, setting in SETTINGS.items():
            fixed, saved = estimate(model, batch, words, frames, *setting)
            row['parameters, GB'] = round(fixed / 1e9, 2)
            row[f'{title}, GB'] = round((fixed + saved) / 1e9, 1)
        rows.append(row)
        print('.', end='', file=sys.stderr, flush=True)
    report('Peak memory of a step, estimated', rows, 'cpu', args.out)


if __name__ == '__main__':
    sys.exit(main())
