"""Frames of unequal quality, for the hypothesis of visual attention.

DMAE's visual attention adds to the frame that fits a word best the one that
looks most like it. That should help where a thing is shown in several frames
of which some are bad. Used by the config beside this file.
"""

import zlib
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from mmtvr.registry import TRANSFORMS


@TRANSFORMS.register_module()
class AddUnequalNoise(BaseTransform):
    """Add Gaussian noise to each frame, of a strength of its own.

    Args:
        most: Highest standard deviation, in grey levels of 255; that of a
            frame is drawn between 0 and this.
        test_mode: The same noise for a video each time.
    """

    def __init__(self, most: float = 128.0, test_mode: bool = False) -> None:
        self.most = most
        self.test_mode = test_mode

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change ``imgs``, uint8 frames of shape (H, W, 3)."""
        seed = np.random.randint(2**31)
        if self.test_mode:
            seed = zlib.crc32(str(results['filename']).encode())
        rng = np.random.default_rng(seed)
        noisy = []
        for frame in results['imgs']:
            noise = rng.standard_normal(frame.shape, np.float32)
            strength = rng.uniform(0, self.most)
            changed = np.clip(frame + strength * noise, 0, 255)
            noisy.append(changed.astype(np.uint8))
        results['imgs'] = noisy
        return results
