# Sentence and word level with visual attention, hard negatives by NegNCE.
_base_ = './clip4clip_minilm-lite0.py'

model = dict(
    head=dict(
        _delete_=True,
        type='mmtvr.DMAEHead',
        embed_dims=128,
        levels=('sentence', 'word'),
        weighting='mean',
        visual_attention=0.5,
    ),
    contrastive_loss=dict(_delete_=True, type='mmtvr.NegNCELoss'),
)
