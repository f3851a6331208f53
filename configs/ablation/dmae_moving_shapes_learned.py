# DMAE with learned token weights (WTI).
_base_ = '../dmae_moving_shapes.py'

model = dict(head=dict(weighting='learned'))
