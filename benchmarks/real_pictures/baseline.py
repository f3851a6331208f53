"""TF-IDF and pooled image features, each through a linear layer.

No pretrained text tower and no tokens: what a retriever on the same pictures
has to beat.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, normalize

BATCH_SIZE = 128
WARM_UP = 0.1


class Pairs(NamedTuple):
    """Captions and their pictures.

    Attributes:
        captions: N texts.
        images: Shape (N, C), pooled features of the frozen image tower.
    """

    captions: Sequence[str]
    images: Tensor


def score_baseline(
    train: Pairs, test: Pairs, options: Mapping[str, float], seed: int
) -> Tensor:
    """Train on pairs and compare others.

    Args:
        train: Pairs that vocabulary, mean and deviation come from too.
        test: M pairs.
        options: ``width`` of the common space, ``lr``, ``epochs``, ``drop``
            (share of inputs that is dropped) and ``scale`` (initial factor of
            the logits, learned).
        seed: Seed of weights and order.

    Returns:
        Shape (M, M), cosine of each caption with each picture.
    """
    torch.manual_seed(seed)
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    words = torch.from_numpy(
        vectorizer.fit_transform(train.captions).toarray()
    ).float()
    mean, deviation = train.images.mean(0), train.images.std(0) + 1e-3
    images = (train.images - mean) / deviation
    width = int(options['width'])
    text_layer = nn.Linear(words.shape[1], width)
    image_layer = nn.Linear(images.shape[1], width)
    scale = nn.Parameter(torch.tensor(float(options['scale'])).log())
    learned = [*text_layer.parameters(), *image_layer.parameters(), scale]
    optimizer = torch.optim.AdamW(learned, options['lr'], weight_decay=0.01)
    per_epoch = len(words) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        options['lr'],
        total_steps=int(options['epochs']) * per_epoch,
        pct_start=WARM_UP,
        cycle_momentum=False,
    )
    for _ in range(int(options['epochs'])):
        order = torch.randperm(len(words))[: per_epoch * BATCH_SIZE]
        for rows in order.split(BATCH_SIZE):
            text = text_layer(dropout(words[rows], options['drop']))
            image = image_layer(dropout(images[rows], options['drop']))
            logits = scale.exp().clamp(max=100) * _cosine(text, image)
            target = torch.arange(len(rows))
            loss = cross_entropy(logits, target)
            loss = loss + cross_entropy(logits.T, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        words = vectorizer.transform(test.captions).toarray()
        text = text_layer(torch.from_numpy(words).float())
        return _cosine(text, image_layer((test.images - mean) / deviation))


def _cosine(text: Tensor, image: Tensor) -> Tensor:
    return normalize(text, dim=-1) @ normalize(image, dim=-1).T
