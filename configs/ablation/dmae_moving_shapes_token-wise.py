# Sentence and words to frames, without visual attention, InfoNCE.
_base_ = '../dmae_moving_shapes.py'

model = dict(
    head=dict(visual_attention=0.0),
    contrastive_loss=dict(_delete_=True, type='mmtvr.InfoNCELoss'),
)
