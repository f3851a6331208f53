# Words with frames and the partial order of matches: partial captions lack
# the words that carry the match, and are encoded again.
_base_ = './token-wise_moving-shapes.py'

model = dict(
    partial_loss=dict(
        type='mmtvr.PartialOrderLoss',
        text_masker=dict(
            type='mmtvr.ImportanceMasker', embed_dims=96, share=0.3),
        loss_weight=0.3))
