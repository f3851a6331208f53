# DMAE and NegNCE with the partial-order loss on matched pairs.
_base_ = './dmae_moving-shapes.py'

model = dict(
    partial_loss=dict(
        type='mmtvr.TPMCLLoss',
        embed_dims=96,
        max_words=24,
        max_frames=8,
        margin=0.1,
        mass=0.6,
    )
)
