# Words to frames, InfoNCE.
_base_ = '../clip4clip_moving_shapes.py'

model = dict(
    head=dict(
        _delete_=True, type='mmtvr.TokenWiseHead', embed_dims=96, level='word'
    )
)
