# Videos of moving shapes, drawn on first use: 2,000 for training and 300 for
# the test, three captions each. A test sample is a video with all of its
# captions; in training each visit takes one of them at random.
data_root = 'data/moving_shapes'
tokenizer = 'mmtvr://moving-shapes-clip'
num_frames = 8
max_words = 24
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
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmtvr.MovingShapesDataset',
        data_root=data_root,
        split='train',
        num_videos=2000,
        captions='random',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=2,
    persistent_workers=True,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtvr.MovingShapesDataset',
        data_root=data_root,
        split='test',
        num_videos=300,
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='mmtvr.TextVideoRecall')
test_evaluator = val_evaluator
