# MSVD: 1,200 training, 100 validation and 670 test videos with 18 to 81
# captions each. All captions are queries; from video to text any caption of the
# video is right.
_base_ = './msrvtt.py'

data_root = 'data/video_retrieval/msvd'

train_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='train.json'))
val_dataloader = dict(dataset=dict(data_root=data_root, ann_file='val.json'))
test_dataloader = dict(dataset=dict(data_root=data_root, ann_file='test.json'))

test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='msvd/all-captions'),
]
