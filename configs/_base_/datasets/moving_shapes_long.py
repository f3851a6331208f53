# The long variant of moving shapes: videos of five shots, in near duplicates,
# with captions that describe one, two or three of them.
_base_ = './moving_shapes.py'

data_root = 'data/moving_shapes_long'
tokenizer = 'mmtvr://moving-shapes-clip'
num_frames = 12
max_words = 32
image_size = 54

to_tensor = [
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TagKeyWords'),
    dict(type='mmtvr.TokenizeText', tokenizer=tokenizer, max_words=max_words),
    dict(type='mmtvr.PackTextVideo'),
]
train_pipeline = [
    dict(type='mmtvr.LoadVideoFrames', num_frames=num_frames),
    *to_tensor,
]
test_pipeline = [
    dict(
        type='mmtvr.LoadVideoFrames',
        num_frames=num_frames,
        test_mode=True,
        short_side=image_size),
    # Drawn videos have this size; an index may also get others.
    dict(type='mmaction.Resize', scale=(-1, image_size)),
    dict(type='mmaction.CenterCrop', crop_size=image_size),
    *to_tensor,
]

train_dataloader = dict(
    dataset=dict(data_root=data_root, long=True, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_root=data_root, long=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
