# Your own videos, in the files that `mmtvr prepare table` writes; --data DIR of
# `mmtvr train` and `mmtvr test` says where they are. A test sample is a video
# with all of its captions. The best epoch is chosen on val, so that the test
# tells how the model does on new videos.
_base_ = './msrvtt.py'

data_root = 'data/own'

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    # A few videos may be less than a batch.
    drop_last=False,
    dataset=dict(data_root=data_root, ann_file='train.json'))
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(data_root=data_root, ann_file='val.json'))
test_dataloader = dict(
    batch_size=32,
    num_workers=2,
    dataset=dict(data_root=data_root, ann_file='test.json'))

# Without a protocol of the field: the report describes this data.
test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(type='mmtvr.RetrievalReport'),
]
