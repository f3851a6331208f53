"""CLIP's image tower as a frame encoder."""

from mmengine.model import BaseModule
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from mmtvr.errors import SetupError
from mmtvr.models.unit_vectors import features_of_frames
from mmtvr.pretrained import load_pretrained
from mmtvr.registry import MODELS
from mmtvr.structures import TokenFeatures

from .clip_tower import checkpoint_layers, freeze_lower_layers


@MODELS.register_module()
class CLIPFrameEncoder(BaseModule):
    """Frames of a video, each by CLIP's image tower.

    A frame is the class token after the last layer norm and the visual
    projection. The frames of all videos go through the tower in one batch.

    Args:
        clip: A CLIP in Hugging Face's layout: a hub name, a local folder or
            ``mmtvr://moving-shapes-clip``.
        frozen_layers: Freeze the embeddings and this many of the lowest
            layers. Defaults to 0, nothing frozen.
        gradient_checkpointing: Recompute activations in backward: less
            memory, about a third more time.
        attn_implementation: Attention kernel of transformers.
        init_cfg: Not used: the weights come from ``clip``.

    Raises:
        SetupError: If the weights are not there, or there are fewer layers.

    Example:
        >>> encoder = CLIPFrameEncoder('mmtvr://moving-shapes-clip')
    """

    def __init__(
        self,
        clip: str,
        frozen_layers: int = 0,
        gradient_checkpointing: bool = False,
        attn_implementation: str = 'sdpa',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.clip = load_pretrained(
            CLIPVisionModelWithProjection,
            clip,
            attn_implementation=attn_implementation,
            dtype='float32',
        )
        self.embed_dims = self.clip.config.projection_dim
        tower = self.clip.vision_model
        freeze_lower_layers(
            [tower.embeddings, tower.pre_layrnorm],
            tower.encoder.layers,
            frozen_layers,
        )
        if gradient_checkpointing:
            checkpoint_layers(self.clip)

    def forward(self, frames: Tensor, mask: Tensor) -> TokenFeatures:
        """Encode the frames of videos.

        Args:
            frames: Shape (V, T, 3, H, W), normalised.
            mask: Shape (V, T), bool, True for real frames.

        Returns:
            Features of V videos, float32; ``pooled`` is the mean of the real
            frames as a unit vector.

        Raises:
            SetupError: If H or W is not the image size of this CLIP.
        """
        size = self.clip.config.image_size
        if tuple(frames.shape[-2:]) != (size, size):
            height, width = frames.shape[-2:]
            raise SetupError(
                f'frames are {width}x{height}, but this CLIP reads '
                f"{size}x{size}; set dict(type='mmaction.CenterCrop', "
                f'crop_size={size}) and the Resize before it'
            )
        encoded = self.clip(pixel_values=frames.flatten(0, 1)).image_embeds
        return features_of_frames(encoded.unflatten(0, mask.shape), mask)
