# DiDeMo as paragraph retrieval: all descriptions of a video, joined in file
# order, against its first 31 seconds; 64 frames and 64 words. The files are
# those of tools/data/didemo/prepare.py DIR --paragraph.
_base_ = './msrvtt.py'

data_root = 'data/video_retrieval/didemo'
num_frames = 64
max_words = 64

tokenize = dict(
    type='mmtvr.TokenizeText',
    tokenizer={{_base_.tokenizer}},
    max_words=max_words)
to_tensor = [
    dict(
        type='mmaction.Resize',
        scale=(-1, {{_base_.image_size}}),
        interpolation='bicubic'),
    dict(type='mmaction.CenterCrop', crop_size={{_base_.image_size}}),
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TagKeyWords'),
    tokenize,
    dict(type='mmtvr.PackTextVideo'),
]
load = dict(
    type='mmtvr.LoadVideoFrames',
    num_frames=num_frames,
    short_side={{_base_.image_size}})
train_pipeline = [load, *to_tensor]
test_pipeline = [dict(load, test_mode=True), *to_tensor]

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='train_paragraph.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='val_paragraph.json',
        pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='test_paragraph.json',
        pipeline=test_pipeline))

test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='didemo/paragraph'),
]
