"""Pretrain the tiny CLIP that ships with the project, on stills of shapes.

``python tools/pretrain_moving_shapes_clip.py OUT`` writes a folder in the
layout of Hugging Face, in a few minutes on one CPU core.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tqdm import tqdm
from transformers import (
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
)

from mmtvr.datasets.moving_shapes.scene import (
    SIZE,
    WORDS,
    draw_shot,
    draw_still,
    write_caption,
)
from mmtvr.losses.info_nce import info_nce

WIDTH = 96
PATCH = 18
LAYERS = 2
HEADS = 4
POSITIONS = 32
MEAN = STD = 127.5
PAD, UNKNOWN, START, END = '<pad>', '<unk>', '<start>', '<end>'


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token per word of the captions.

    Returns:
        The tokenizer; the end token has the highest id, as in OpenAI's CLIP.
    """
    words = [PAD, UNKNOWN, START, *WORDS, END]
    ids = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f'{START} $A {END}',
        special_tokens=[(START, ids[START]), (END, ids[END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        bos_token=START,
        eos_token=END,
        model_max_length=POSITIONS,
    )


def build_clip(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """Make the CLIP with random weights.

    Args:
        tokenizer: Gives the number of words and the special tokens.

    Returns:
        The model, about 0.4 million parameters.
    """
    tower = dict(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        hidden_act='gelu',
        projection_dim=WIDTH,
    )
    text = dict(
        vocab_size=len(tokenizer),
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = dict(image_size=SIZE, patch_size=PATCH)
    config = CLIPConfig(
        text_config={**tower, **text},
        vision_config={**tower, **vision},
        projection_dim=WIDTH,
    )
    return CLIPModel(config)


def draw_stills(
    count: int, seed: int
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Draw stills with their captions.

    Returns:
        Stills (count, 54, 54, 3), uint8; captions; and for each an integer
        that is the same where colours and shapes are, since a still does not
        show how a shape moves.
    """
    rng = np.random.default_rng(seed)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    captions, names = [], []
    for row in tqdm(range(count), desc='drawing stills'):
        shot = draw_still(rng)
        images[row] = draw_shot(shot, rng)[0]
        captions.append(write_caption([shot]))
        names.append(' '.join(sorted(f'{a[:2]}' for a in shot.actors)))
    return images, captions, np.unique(names, return_inverse=True)[1]


def pretrain(
    clip: CLIPModel,
    tokenizer: PreTrainedTokenizerFast,
    stills: int,
    epochs: int,
    batch_size: int = 256,
    lr: float = 2e-3,
    seed: int = 0,
) -> float:
    """Train by the symmetric contrastive loss.

    Args:
        clip: Changed in place.
        tokenizer: Its tokenizer.
        stills: Number of stills to draw.
        epochs: Passes over them.
        batch_size: Pairs that are contrasted.
        lr: Highest learning rate, of a one-cycle schedule.
        seed: Seed of stills and order.

    Returns:
        The mean loss of the last epoch.
    """
    images, captions, names = draw_stills(stills, seed)
    tokens = tokenizer(captions, padding=True, return_tensors='pt').input_ids
    names = torch.from_numpy(names)
    steps = epochs * (stills // batch_size)
    optimizer = torch.optim.AdamW(clip.parameters(), lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, steps, pct_start=0.1
    )
    losses = []
    bar = tqdm(range(epochs), desc='pretraining')
    for _ in bar:
        order = torch.randperm(stills)
        losses = []
        for batch in order.split(batch_size)[: stills // batch_size]:
            pixels = torch.from_numpy(images[batch.numpy()]).float()
            pixels = (pixels.permute(0, 3, 1, 2) - MEAN) / STD
            output = clip(input_ids=tokens[batch], pixel_values=pixels)
            sim = output.text_embeds @ output.image_embeds.T
            same = names[batch][:, None] == names[batch]
            loss = info_nce(sim, same, clip.logit_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                clip.logit_scale.clamp_(max=np.log(100.0))
            losses.append(loss.item())
        bar.set_postfix(loss=f'{np.mean(losses):.3f}')
    return float(np.mean(losses))


def save(
    folder: Path, clip: CLIPModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write model, tokenizer and preprocessing into a folder."""
    clip.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    preprocessing = dict(
        image_processor_type='CLIPImageProcessor',
        size=dict(height=SIZE, width=SIZE),
        crop_size=dict(height=SIZE, width=SIZE),
        image_mean=[MEAN / 255] * 3,
        image_std=[STD / 255] * 3,
    )
    path = folder / 'preprocessor_config.json'
    path.write_text(json.dumps(preprocessing, indent=2) + '\n')


def main() -> None:
    """Pretrain as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--stills', type=int, default=12288)
    parser.add_argument('--epochs', type=int, default=16)
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    # Sums of floats depend on the number of threads; with one, the shipped
    # weights come out bit for bit.
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    clip = build_clip(tokenizer)
    count = sum(p.numel() for p in clip.parameters())
    print(f'{count / 1e6:.2f} million parameters')
    loss = pretrain(
        clip,
        tokenizer,
        args.stills,
        args.epochs,
        args.batch_size,
        seed=args.seed,
    )
    save(args.out, clip, tokenizer)
    print(f'last loss {loss:.3f}; wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
