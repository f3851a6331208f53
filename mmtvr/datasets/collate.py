"""Joining samples to a batch inside the worker."""

from collections.abc import Sequence

import torch
from mmengine.dataset import pseudo_collate

from mmtvr.registry import FUNCTIONS


@FUNCTIONS.register_module()
def stack_samples(batch: Sequence[dict]) -> dict:
    """Stack what has one shape; keep the rest as lists.

    Each tensor that leaves a worker costs the main process a file handle and
    a map into memory, so a few large ones arrive sooner than many small ones.

    Args:
        batch: What ``PackTextVideo`` returns, one dict per sample.

    Returns:
        ``inputs``, a dict with one entry per key: a tensor with a first axis
        for the samples, or a list where shapes differ, as the captions of
        test videos do; and ``data_samples``, a list.
    """
    data = pseudo_collate(batch)
    data['inputs'] = {
        key: torch.stack(values)
        if len({value.shape for value in values}) == 1
        else values
        for key, values in data['inputs'].items()
    }
    return data
