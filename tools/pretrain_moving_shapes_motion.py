"""Teach the tiny CLIP words of motion, on shots of moving shapes.

``python tools/pretrain_moving_shapes_motion.py OUT`` starts from
``mmtvr://moving-shapes-clip`` and writes ``mmtvr://moving-shapes-clip-motion``,
in two minutes on one free CPU core.

Captions of the stills that the first one was made from say how a shape moves,
which a still does not show. So its text tower gives all words of motion nearly
the same feature, and a training on whole videos does not bring the difference
back: neither side has a gradient while the other tells nothing. Here a batch
holds groups of shots with the same shapes in the same colours, which only
their motion tells apart.
"""

import argparse
import sys
from pathlib import Path
from shutil import copyfile
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, CLIPModel

from mmtvr.datasets.moving_shapes.scene import (
    MOTIONS,
    SHOT_FRAMES,
    SIZE,
    Shot,
    draw_shot,
    draw_still,
    write_caption,
)
from mmtvr.losses.info_nce import info_nce
from mmtvr.models import CLIPFrameEncoder, CLIPTextEncoder, TokenWiseHead
from mmtvr.models.encoders.motion import FILE
from mmtvr.models.retriever import LogitScale
from mmtvr.pretrained import load_pretrained, resolve_pretrained

MEAN = STD = 127.5
IN_GROUP = 4


class Shots(NamedTuple):
    """Groups of shots with the same shapes and colours.

    Attributes:
        frames: Shape (G, 4, T, 3, 54, 54), uint8.
        frame_mask: Shape (G, 4, T), bool.
        tokens: Shape (G, 4, L), int64.
        token_mask: Shape (G, 4, L), bool.
    """

    frames: Tensor
    frame_mask: Tensor
    tokens: Tensor
    token_mask: Tensor


def draw_groups(groups: int, seed: int, clip: str) -> Shots:
    """Draw groups of shots, and cut their captions into words."""
    rng = np.random.default_rng(seed)
    longest = max(SHOT_FRAMES)
    shape = (groups, IN_GROUP, longest, SIZE, SIZE, 3)
    frames, lengths = np.zeros(shape, np.uint8), np.zeros(shape[:2], int)
    captions = []
    for group in tqdm(range(groups), desc='drawing shots'):
        still = draw_still(rng)
        drawn = set()
        while len(drawn) < IN_GROUP:
            actors = tuple(
                actor._replace(motion=str(rng.choice([*MOTIONS])))
                for actor in still.actors
            )
            if actors in drawn:
                continue
            shot = Shot(actors, int(rng.choice(SHOT_FRAMES)))
            place = group, len(drawn)
            frames[place][: shot.frames] = draw_shot(shot, rng)
            lengths[place] = shot.frames
            captions.append(write_caption([shot]))
            drawn.add(actors)
    tokenizer = load_pretrained(AutoTokenizer, clip)
    words = tokenizer(captions, padding=True, return_tensors='pt')
    return Shots(
        torch.from_numpy(frames).permute(0, 1, 2, 5, 3, 4),
        torch.arange(longest) < torch.from_numpy(lengths)[..., None],
        words.input_ids.unflatten(0, shape[:2]),
        words.attention_mask.unflatten(0, shape[:2]).bool(),
    )


def pretrain(
    text: CLIPTextEncoder,
    video: CLIPFrameEncoder,
    shots: Shots,
    steps: int,
    batch_groups: int = 32,
    lr: float = 1e-3,
) -> float:
    """Train both encoders by the symmetric contrastive loss, words to frames.

    Returns:
        The mean loss of the last tenth of the steps.
    """
    head, scale = TokenWiseHead(text.embed_dims), LogitScale()
    parameters = [*text.parameters(), *video.parameters(), *scale.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, steps, pct_start=0.1
    )
    losses = []
    bar = tqdm(range(steps), desc='pretraining')
    for _ in bar:
        chosen = torch.randperm(len(shots.tokens))[:batch_groups]
        frames, frame_mask, tokens, token_mask = (
            field[chosen].flatten(0, 1) for field in shots
        )
        sim = head(
            text(tokens, token_mask),
            video((frames.float() - MEAN) / STD, frame_mask),
        )
        loss = info_nce(sim, torch.eye(len(sim)).bool(), scale())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f'{np.mean(losses[-50:]):.3f}')
    return float(np.mean(losses[-max(1, steps // 10) :]))


@torch.no_grad()
def measure(
    text: CLIPTextEncoder, video: CLIPFrameEncoder, shots: Shots
) -> float:
    """Share of captions that find their shot in its group of four."""
    frames, frame_mask, tokens, token_mask = (
        field.flatten(0, 1) for field in shots
    )
    sim = TokenWiseHead(text.embed_dims)(
        text(tokens, token_mask),
        video((frames.float() - MEAN) / STD, frame_mask),
    )
    group = torch.arange(len(sim)) // IN_GROUP
    sim = sim.masked_fill(group[:, None] != group, -torch.inf)
    found = sim.argmax(dim=1) == torch.arange(len(sim))
    return found.float().mean().item()


def save(
    folder: Path, start: str, text: CLIPTextEncoder, video: CLIPFrameEncoder
) -> None:
    """Write both towers as one CLIP, and the weights for motion."""
    clip = load_pretrained(CLIPModel, start)
    weights = text.clip.state_dict() | video.clip.state_dict()
    missing = clip.load_state_dict(weights, strict=False).missing_keys
    assert missing == ['logit_scale'], missing
    clip.save_pretrained(folder)
    save_file(video.motion.state_dict(), folder / FILE)
    for name in (
        'preprocessor_config.json',
        'tokenizer.json',
        'tokenizer_config.json',
    ):
        copyfile(Path(resolve_pretrained(start), name), folder / name)


def main() -> None:
    """Pretrain as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--clip', default='mmtvr://moving-shapes-clip')
    parser.add_argument('--groups', type=int, default=1000)
    parser.add_argument('--steps', type=int, default=400)
    parser.add_argument('--batch-groups', type=int, default=32)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    # Sums of floats depend on the number of threads; with one, the shipped
    # weights come out bit for bit.
    torch.set_num_threads(1)
    text = CLIPTextEncoder(args.clip)
    video = CLIPFrameEncoder(args.clip, motion={})
    shots = draw_groups(args.groups, args.seed, args.clip)
    loss = pretrain(text, video, shots, args.steps, args.batch_groups)
    unseen = draw_groups(100, args.seed + 1, args.clip)
    share = measure(text, video, unseen)
    save(args.out, args.clip, text, video)
    print(
        f'last loss {loss:.3f}; {100 * share:.1f} % of the captions of unseen '
        f'shots find theirs among four that differ in motion; wrote {args.out}'
    )


if __name__ == '__main__':
    sys.exit(main())
