# DMAE without the extra weight of hard negatives.
_base_ = '../dmae_moving_shapes.py'

model = dict(contrastive_loss=dict(_delete_=True, type='mmtvr.InfoNCELoss'))
