# DMAE and NegNCE with the partial-order loss on matched pairs.
_base_ = './dmae_vit-b32.py'

model = dict(
    partial_loss=dict(
        type='mmtvr.TPMCLLoss',
        embed_dims=512,
        max_words=32,
        max_frames=12,
        margin=0.6,
        mass=0.6,
    )
)
