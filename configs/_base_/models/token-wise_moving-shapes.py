# Words with frames, all alike: the baseline of the partial order.
_base_ = './clip4clip_moving-shapes.py'

model = dict(
    head=dict(
        _delete_=True,
        type='mmtvr.TokenWiseHead',
        embed_dims=96,
        level='word'))
