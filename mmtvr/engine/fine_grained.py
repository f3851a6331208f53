"""Fine-grained captions, encoded and scored by a trained model."""

from pathlib import Path
from typing import Any

import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.dist import get_dist_info
from torch import Tensor, nn

from mmtvr.distributed.gather import gather_rows
from mmtvr.engine.features import Gallery, score_in_blocks
from mmtvr.errors import SetupError
from mmtvr.evaluation.fine_grained import (
    FineGrainedSet,
    check_fine_grained,
    read_fine_grained,
)

#: For ``fine_grained`` of a loop: what the dataset makes of its captions.
OF_DATASET = 'dataset'
BATCH = 64


def load_fine_grained(source: str, dataset: Any) -> FineGrainedSet:
    """Read a set of fine-grained captions, or let the dataset make it.

    Args:
        source: A JSON file, or ``'dataset'``.
        dataset: The test set.

    Raises:
        SetupError: There is no such file, or the dataset makes none.
    """
    if source != OF_DATASET:
        captions = read_fine_grained(source)
    elif hasattr(dataset, 'make_fine_grained'):
        captions = check_fine_grained(
            dataset.make_fine_grained(), 'the dataset'
        )
    else:
        raise SetupError(
            f'{type(dataset).__name__} makes no fine-grained captions; give '
            'the JSON file of a set'
        )
    known = _names_of(dataset)
    for position, name in known.items():
        if position >= len(captions.videos):
            raise SetupError(
                f'{source} has {len(captions.videos)} videos, but the test '
                f'set has a video {name} at position {position}: it is of '
                'another annotation file'
            )
        if Path(captions.videos[position]).name != name:
            raise SetupError(
                f'video {position} is {captions.videos[position]} in '
                f'{source}, but {name} in the test set: it is of another '
                'annotation file'
            )
    return captions


def _names_of(dataset: Any) -> dict[int, str]:
    """File names of the videos by their position in the annotation file."""
    if not hasattr(dataset, 'get_data_info'):
        return {}
    samples = (dataset.get_data_info(i) for i in range(len(dataset)))
    return {s['video_id']: Path(s['filename']).name for s in samples}


@torch.no_grad()
def score_captions(
    model: nn.Module,
    captions: FineGrainedSet,
    pipeline: Compose,
    gallery: Gallery,
    megabytes: float,
    device: torch.device,
) -> Tensor:
    """Score all captions of a set against all videos of a test set.

    Each process scores its share.

    Args:
        model: The retriever.
        captions: The set.
        pipeline: Of the test set; its transforms that read text are used.
        gallery: All videos.
        megabytes: Memory budget of a block of scores.
        device: Where the similarity runs.

    Returns:
        Shape (texts, V), float32, CPU, the same on every process.
    """
    transforms = [
        each
        for each in pipeline.transforms
        if getattr(each, 'reads', 'video') in ('text', 'both')
    ]
    prepare = Compose(transforms)
    rank, world = get_dist_info()
    share = -(-len(captions.texts) // world)
    own = captions.texts[rank * share : (rank + 1) * share]
    rows = [torch.zeros(0, len(gallery.names))]
    for start in range(0, len(own), BATCH):
        texts = own[start : start + BATCH]
        batch = pseudo_collate([prepare(dict(text=texts))])
        inputs = model.data_preprocessor(batch)['inputs']
        features = model.extract_text(inputs)
        rows += [
            part
            for _, part in score_in_blocks(
                model.similarity,
                features,
                gallery.features,
                megabytes,
                device,
            )
        ]
    return gather_rows(torch.cat(rows).to(device)).cpu()
