# Mean pooling (CLIP4Clip) on the towers and the temporal branch of the word
# level, so that the heads alone differ.
_base_ = '../token-wise_moving_shapes_long.py'

model = dict(head=dict(_delete_=True, type='mmtvr.CosineHead'))
