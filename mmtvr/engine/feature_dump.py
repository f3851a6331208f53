"""Write what a test set was encoded to, to evaluate it without the model."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_comm_device, is_main_process
from torch import Tensor

from mmtvr.array_files import write_arrays
from mmtvr.distributed import gather_rows
from mmtvr.engine.feature_store import Gallery, TextBatch


def dump_features(
    path: Path, batches: Sequence[TextBatch], gallery: Gallery
) -> None:
    """Write the pooled features of all texts and videos as npz.

    ``tools/evaluate.py`` reads the file and compares by cosine, which is what
    ``CosineHead`` does; heads that compare words with frames need the scores,
    see ``SimilarityDump``. The file is read without pickle and holds ``text``
    (B, D) and ``video`` (V, D) float32, ``text_video_ids`` (B,) and
    ``video_ids`` (V,) int64, ``texts`` (B,) and ``videos`` (V,) strings.

    Args:
        path: Ends in ``.npz``. The first process writes it.
        batches: The texts of this process.
        gallery: All videos.
    """
    width = gallery.features.pooled.shape[1]
    none = torch.zeros(0, dtype=torch.int64)
    pooled = [torch.zeros(0, width)]
    text = _gather(torch.cat([*pooled, *(b.features.pooled for b in batches)]))
    ids = _gather(torch.cat([none, *(batch.video_ids for batch in batches)]))
    own = [caption for batch in batches for caption in batch.texts]
    texts = list(chain.from_iterable(all_gather_object(own)))
    if not is_main_process():
        return
    column = (ids[:, None] == gallery.video_ids).int().argmax(dim=1)
    order = column.argsort(stable=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(
        path,
        dict(
            text=text[order].numpy(),
            video=gallery.features.pooled.numpy(),
            text_video_ids=ids[order].numpy(),
            video_ids=gallery.video_ids.numpy(),
            texts=np.array([texts[i] for i in order.tolist()]),
            videos=np.array(gallery.names),
        ),
    )


def _gather(local: Tensor) -> Tensor:
    return gather_rows(local.to(get_comm_device())).cpu()
