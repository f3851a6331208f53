"""From the results of a pipeline to what a model takes."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmtvr.registry import TRANSFORMS

TEXT_KEYS = ('tokens', 'token_mask', 'token_weight', 'cut_pieces')


def find_side(kind: Any) -> str:
    """Say what a transform reads: ``'text'``, ``'video'`` or ``'both'``.

    Args:
        kind: Its registry name or class, which says so by an attribute
            ``reads``; without one, videos.
    """
    # Of these it is known, and they import decoders and SciPy.
    if str(kind).startswith('mmaction.') or kind == 'mmtvr.LoadVideoFrames':
        return 'video'
    if isinstance(kind, str):
        with TRANSFORMS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return getattr(kind, 'reads', 'video')


@TRANSFORMS.register_module()
class PackTextVideo(BaseTransform):
    """Turn frames and word pieces into tensors, the rest into a data sample.

    A part that is missing is not packed, so a pipeline may be for texts or
    for videos alone.

    **Required Keys** (all optional):

    - imgs: list of T arrays (H, W, 3), or one array (T, 3, H, W), as
      ``mmaction.FormatShape(input_format='NCHW')`` makes it; uint8
    - frame_mask: (T,) bool
    - tokens, token_mask, token_weight: (n, L)
    - cut_pieces: (n,)
    - keys named in ``meta_keys``

    **Result:**

    - inputs: dict of tensors ``frames`` (T, 3, H, W) uint8, ``frame_mask``,
      ``tokens``, ``token_mask``, ``token_weight``, ``cut_pieces``
    - data_samples: :class:`mmaction.structures.ActionDataSample` whose meta
      information holds ``meta_keys``; ``text`` is always a list

    Args:
        meta_keys (Sequence[str]): Keys to keep as meta information.
    """

    #: Which side of a sample it reads.
    reads = 'both'

    def __init__(
        self,
        meta_keys: tuple[str, ...] = (
            'video_id',
            'sample_idx',
            'filename',
            'text',
            'frame_inds',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        """Pack one sample into ``inputs`` and ``data_samples``."""
        inputs = {}
        if 'imgs' in results:
            inputs['frames'] = _stack_frames(results['imgs'])
            mask = results.get('frame_mask')
            if mask is None:
                mask = np.ones(len(inputs['frames']), dtype=bool)
            inputs['frame_mask'] = torch.from_numpy(np.asarray(mask))
        for key in TEXT_KEYS:
            if key in results:
                inputs[key] = torch.from_numpy(results[key])
        meta = {key: results[key] for key in self.meta_keys if key in results}
        if isinstance(meta.get('text'), str):
            meta['text'] = [meta['text']]
        # Importing it takes longer than a text query may.
        from mmaction.structures import ActionDataSample

        data_sample = ActionDataSample()
        data_sample.set_metainfo(meta)
        return dict(inputs=inputs, data_samples=data_sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'


def _stack_frames(imgs: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    frames = np.asarray(imgs)
    if frames.ndim != 4 or 3 not in (frames.shape[1], frames.shape[-1]):
        raise ValueError(
            'imgs must be T frames of one size, (T, 3, H, W) or a list of '
            f'(H, W, 3); got an array of shape {frames.shape}'
        )
    if not isinstance(imgs, np.ndarray):
        frames = frames.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(frames))
