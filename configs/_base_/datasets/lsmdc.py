# LSMDC: 101,079 training clips, 1,000 test clips, one sentence each. The field
# validates on the test clips, as the public validation set is larger.
_base_ = './msrvtt.py'

data_root = 'data/video_retrieval/lsmdc'

train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='train.json'))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='test.json'))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='test.json'))

test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='lsmdc/test'),
]
