# DMAE and NegNCE with the partial-order loss on matched pairs. Regions of frames
# are its frames: 2 x 6 of a clip of two photographs, 4 x 6 of an animation.
_base_ = './dmae_minilm-lite0.py'

model = dict(
    partial_loss=dict(
        type='mmtvr.TPMCLLoss',
        embed_dims=128,
        max_words=128,
        max_frames=24,
        margin=0.1,
        mass=0.6,
    )
)
