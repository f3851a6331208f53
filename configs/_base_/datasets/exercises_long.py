# Free Exercise DB with the instructions as captions, several sentences each;
# half of them have more than 124 word pieces.
_base_ = './exercises.py'

train_dataloader = dict(
    dataset=dict(ann_file='long/fold0_train.json', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(ann_file='long/fold0_val.json', pipeline=test_pipeline)
)
test_dataloader = dict(
    dataset=dict(ann_file='long/fold0_test.json', pipeline=test_pipeline)
)
