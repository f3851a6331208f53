# MSR-VTT 1k-A: 9,000 training videos with 20 captions each (180,000 pairs),
# 1,000 test videos with one caption each. The files are those that mmaction2's
# preparation scripts write.
#
# To change one value from the command line, override it where it is used:
#   --cfg-options train_dataloader.dataset.data_root=DIR \
#                 val_dataloader.dataset.data_root=DIR \
#                 test_dataloader.dataset.data_root=DIR
data_root = 'data/video_retrieval/msrvtt'
tokenizer = 'openai/clip-vit-base-patch32'
num_frames = 12
max_words = 32
image_size = 224

# Decoding at the short side that the resize wants is cheaper than decoding the
# whole frame; the resize still enlarges what is smaller.
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
    dict(
        type='mmtvr.LoadVideoFrames',
        num_frames=num_frames,
        short_side=image_size),
    *frames_to_tensor,
    *text_to_tensor,
]
test_pipeline = [
    dict(
        type='mmtvr.LoadVideoFrames',
        num_frames=num_frames,
        short_side=image_size,
        test_mode=True),
    *frames_to_tensor,
    *text_to_tensor,
]

train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root=data_root,
        ann_file='train_9k.json',
        data_prefix=dict(video='videos'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type='mmtvr.stack_samples'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmtvr.TextVideoDataset',
        data_root=data_root,
        ann_file='test_JSFUSION.json',
        data_prefix=dict(video='videos'),
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(type='mmtvr.TextVideoRecall')
test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='msrvtt/1k-A'),
]
