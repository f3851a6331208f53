"""One vector per caption, one per video: CLIP4Clip's mean pooling."""

from torch import Tensor, nn

from mmtvr.ops import autocast_off, wide_dtype
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures


@MODELS.register_module()
class CosineHead(nn.Module):
    """Cosine of the pooled vectors.

    With frames pooled by their mean this is CLIP4Clip's parameter-free
    ``meanP``; after a ``FrameTransformer`` it is ``seqTransf``
    (arXiv:2104.08860). Its cost does not depend on words and frames.
    """

    #: What of the features it reads.
    compares = 'pooled'
    #: Search takes what is outside for a damaged index.
    score_range = (-1.0, 1.0)

    def forward(self, text: TokenFeatures, video: TokenFeatures) -> Tensor:
        """Compare B captions with V videos.

        Returns:
            Shape (B, V), rows are texts, cosines in [-1, 1], float32 or wider.
        """
        with autocast_off(text.pooled):
            dtype = wide_dtype(text.pooled, video.pooled)
            return text.pooled.to(dtype) @ video.pooled.to(dtype).mT
