# Sentence and word level with visual attention, hard negatives by NegNCE, and
# a temporal encoder that starts from CLIP's first text blocks.
_base_ = './clip4clip_vit-b32.py'

model = dict(
    temporal=dict(
        type='mmtvr.FrameTransformer',
        embed_dims=512,
        num_layers=4,
        clip={{_base_.clip}},
    ),
    head=dict(
        _delete_=True,
        type='mmtvr.DMAEHead',
        embed_dims=512,
        levels=('sentence', 'word'),
        weighting='mean',
        visual_attention=0.5,
    ),
    contrastive_loss=dict(_delete_=True, type='mmtvr.NegNCELoss'),
)
