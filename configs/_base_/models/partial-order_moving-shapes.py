# Words with frames and the partial order of matches. Partial captions lack a
# run of words, and are encoded again; in the ranking a caption counts by what
# it finds beyond the background, and the more it describes the more.
_base_ = './token-wise_moving-shapes_residual.py'

model = dict(
    head=dict(evidence=0.25, background=64),
    partial_loss=dict(
        type='mmtvr.PartialOrderLoss',
        text_masker=dict(type='mmtvr.SpanMasker', share=0.4),
        negatives='same side',
        full_weight=3.0,
        share=0.5,
        loss_weight=0.3))
