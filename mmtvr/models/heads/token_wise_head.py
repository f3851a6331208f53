"""Token-wise interaction: each word with its best frame, and back."""

from mmtvr.registry import MODELS

from .dmae_head import DMAEHead


@MODELS.register_module()
class TokenWiseHead(DMAEHead):
    """Token-wise similarity, TI or WTI of DRL (arXiv:2203.07111).

    :class:`DMAEHead` at one level and without visual attention. Textual
    attention is used if the features carry it.

    Args:
        embed_dims: Width D of the tokens. Only learned weighting has
            parameters.
        level: What of a caption meets the frames, ``'word'`` or
            ``'sentence'``.
        weighting: ``'mean'`` for TI, ``'learned'`` for WTI.
        hidden_layers: Hidden layers of the learned weights; DRL has 1.
        block_bytes: Memory in bytes that the word-by-frame cosines of one
            block of texts may take.

    Raises:
        ValueError: If the level or the weighting is unknown.
    """

    def __init__(
        self,
        embed_dims: int = 512,
        level: str = 'word',
        weighting: str = 'mean',
        hidden_layers: int = 0,
        block_bytes: int = 2**24,
    ) -> None:
        super().__init__(
            embed_dims=embed_dims,
            levels=(level,),
            weighting=weighting,
            visual_attention=0.0,
            hidden_layers=hidden_layers,
            block_bytes=block_bytes,
        )
