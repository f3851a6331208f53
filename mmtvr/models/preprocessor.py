"""From a list of samples to the tensors that the model reads."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmtvr.errors import SetupError
from mmtvr.registry import MODELS

CLIP_MEAN = (122.7709, 116.7460, 104.0937)
CLIP_STD = (68.5005, 66.6322, 70.3232)
#: Inputs of which a sample has one, not one for each caption.
PER_VIDEO = ('frames', 'frame_mask', 'frame_tokens', 'frame_pooled')


@MODELS.register_module()
class TextVideoPreprocessor(BaseDataPreprocessor):
    """Move a batch to the device, stack it, and normalise frames there.

    Frames come as uint8 and stay so until they are encoded, which takes a
    quarter of the memory where a batch is encoded in chunks. The inputs after
    it, for B captions of V videos:

    * ``frames`` (V, T, 3, H, W) uint8, for :meth:`normalize`;
    * ``frame_mask`` (V, T) bool;
    * ``tokens`` (B, L) int64, ``token_mask`` (B, L) bool, ``cut_pieces``
      (B,) int64, and ``token_weight`` (B, L) float if the samples have it;
    * ``video_of_text`` (B,) int64, the row of each caption's own video;
    * ``video_ids`` (V,) int64, from the annotation.

    What the samples do not hold is left out, so texts or videos alone work.
    Stored features of frozen towers, ``words`` and ``sentence``,
    ``frame_tokens`` and ``frame_pooled``, take the place of ``tokens`` and
    ``frames``.

    Args:
        mean: Mean of each channel, RGB, on the scale 0 to 255.
        std: Standard deviation of each channel, likewise.
        non_blocking: Whether copies to the device may overlap.
    """

    def __init__(
        self,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        for name, value in (('mean', mean), ('std', std)):
            channels = torch.tensor(value, dtype=torch.float32)
            self.register_buffer(
                name, channels.view(-1, 1, 1), persistent=False
            )

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Prepare one batch.

        Args:
            data: ``inputs``, a dict of lists with one entry per sample, and
                ``data_samples``, a list, as ``pseudo_collate`` gives them.
            training: Not used.

        Raises:
            SetupError: If the frames of the videos differ in shape.
        """
        # Data samples hold no tensors; a copy of each would take time.
        samples = data.get('data_samples')
        given = self.cast_data(data['inputs'])
        inputs = {}
        for key, values in given.items():
            if key in PER_VIDEO:
                inputs[key] = _stack(key, values)
            else:
                inputs[key] = torch.cat(list(values))
        if 'token_mask' in inputs:
            inputs['video_of_text'] = _rows(given['token_mask'])
        if samples is not None and 'video_id' in samples[0]:
            inputs['video_ids'] = torch.tensor(
                [int(sample.video_id) for sample in samples],
                device=self.device,
            )
        return dict(inputs=inputs, data_samples=samples)

    def normalize(self, frames: Tensor) -> Tensor:
        """Normalise RGB frames (..., 3, H, W) from 0..255, to float32."""
        return (frames.float() - self.mean).div_(self.std)


def _stack(key: str, values: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(value.shape) for value in values}
    if len(shapes) > 1:
        raise SetupError(
            f'{key} of one batch must have one shape, got {sorted(shapes)}; '
            'end the pipeline with a crop to a fixed size, such as '
            "dict(type='mmaction.CenterCrop', crop_size=224)"
        )
    return torch.stack(list(values))


def _rows(tokens: Sequence[Tensor]) -> Tensor:
    captions = torch.tensor(
        [len(each) for each in tokens], device=tokens[0].device
    )
    rows = torch.arange(len(captions), device=captions.device)
    return rows.repeat_interleave(captions)
