# DMAE without the bonus of the nearest frame.
_base_ = '../dmae_moving_shapes.py'

model = dict(head=dict(visual_attention=0.0))
