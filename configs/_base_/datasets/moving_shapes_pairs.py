# Moving shapes with both videos of a pair, which differ in a few words, in one
# batch; videos of fewer frames than 8 padded, since a frame shown twice says
# that nothing moves; all words alike, key words tagged for explanations only.
_base_ = './moving_shapes.py'

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
