# VATEX: 25,991 training, 1,500 validation and 1,500 test videos with ten English
# captions each.
_base_ = './msrvtt.py'

data_root = 'data/video_retrieval/vatex'

train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='train.json'))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='val.json'))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='test.json'))

test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='vatex/test-1500'),
]
