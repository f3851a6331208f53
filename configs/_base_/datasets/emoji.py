# Animated Fluent Emoji, as tools/data/emoji/prepare.py writes them, with English
# names and tags as captions. Five folds, and other languages for the test, by
#   --cfg-options test_dataloader.dataset.ann_file=de/fold0_test.json
_base_ = './exercises.py'

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='en/fold0_train.json',
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='en/fold0_val.json',
        pipeline=test_pipeline,
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        ann_file='en/fold0_test.json',
        pipeline=test_pipeline,
    )
)
