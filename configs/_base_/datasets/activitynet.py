# ActivityNet Captions as paragraph retrieval: all sentences of a video against
# the whole video; 64 frames and 64 words. The field tests on val_1, and there is
# no other split to validate on. The files are those of
# tools/data/activitynet/prepare.py DIR --paragraph.
_base_ = './didemo.py'

data_root = 'data/video_retrieval/activitynet'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='val_1_paragraph.json'))
test_dataloader = dict(
    dataset=dict(data_root=data_root, ann_file='val_1_paragraph.json'))

test_evaluator = [
    dict(type='mmtvr.TextVideoRecall'),
    dict(
        type='mmtvr.RetrievalReport',
        protocol='activitynet/paragraph-val_1'),
]
