# Token-wise interaction after a temporal encoder: TI + seqTransf of DRL
# (arXiv:2203.07111). Not run here.
_base_ = './clip4clip_msrvtt.py'

model = dict(
    temporal=dict(
        type='mmtvr.FrameTransformer',
        embed_dims=512,
        num_layers=4,
        clip='openai/clip-vit-base-patch32'),
    head=dict(_delete_=True, type='mmtvr.TokenWiseHead', embed_dims=512))
