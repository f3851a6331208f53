# DMAE with the same weight on every word.
_base_ = '../dmae_moving_shapes.py'

to_tensor = [
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(
        type='mmtvr.TokenizeText',
        tokenizer={{_base_.tokenizer}},
        max_words={{_base_.max_words}},
    ),
    dict(type='mmtvr.PackTextVideo'),
]
load = dict(type='mmtvr.LoadVideoFrames', num_frames={{_base_.num_frames}})
train_pipeline = [load, *to_tensor]
test_pipeline = [
    dict(load, test_mode=True, short_side={{_base_.image_size}}),
    dict(type='mmaction.Resize', scale=(-1, {{_base_.image_size}})),
    dict(type='mmaction.CenterCrop', crop_size={{_base_.image_size}}),
    *to_tensor,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
