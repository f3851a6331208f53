# The long variant with both videos of a near duplicate in one batch, a frame
# of a short video never shown twice, and all words alike.
_base_ = './moving_shapes_long.py'

to_tensor = [
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TagKeyWords'),
    dict(
        type='mmtvr.TokenizeText',
        tokenizer={{_base_.tokenizer}},
        max_words={{_base_.max_words}},
        keyword_weight=1.0),
    dict(type='mmtvr.PackTextVideo'),
]
load = dict(
    type='mmtvr.LoadVideoFrames',
    num_frames={{_base_.num_frames}},
    short_videos='mask')
train_pipeline = [load, *to_tensor]
test_pipeline = [
    dict(load, test_mode=True, short_side={{_base_.image_size}}),
    # Drawn videos have this size; an index may also get others.
    dict(type='mmaction.Resize', scale=(-1, {{_base_.image_size}})),
    dict(type='mmaction.CenterCrop', crop_size={{_base_.image_size}}),
    *to_tensor,
]

train_dataloader = dict(
    sampler=dict(_delete_=True, type='mmtvr.NeighbourSampler', group_size=2),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
