# DMAE with a temporal encoder that starts from CLIP's first text blocks.
_base_ = '../dmae_moving_shapes.py'

model = dict(
    temporal=dict(
        _delete_=True,
        type='mmtvr.FrameTransformer',
        embed_dims=96,
        num_layers=2,
        max_frames=32,
        clip={{_base_.clip}},
    )
)
