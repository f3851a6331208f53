# Three shots of moving shapes in frames of unequal quality, two or three of
# each shot; words with frames, visual attention is an option.
_base_ = '../../configs/dmae_moving_shapes_long.py'

custom_imports = dict(imports=['benchmarks.ablation.unequal_frames'])

data_root = 'data/moving_shapes'
load = dict(
    type='mmtvr.LoadVideoFrames',
    num_frames=8,
    short_videos='mask',
    cache=dict(folder='data/frames'),
)
to_tensor = [
    dict(type='mmaction.FormatShape', input_format='NCHW'),
    dict(type='mmtvr.TagKeyWords'),
    dict(
        type='mmtvr.TokenizeText',
        tokenizer='mmtvr://moving-shapes-clip',
        max_words=32,
        keyword_weight=1.0,
    ),
    dict(type='mmtvr.PackTextVideo'),
]
train = dict(
    data_root=data_root,
    long=False,
    pipeline=[load, dict(type='mmtvr.AddUnequalNoise'), *to_tensor],
)
test = dict(
    data_root=data_root,
    long=False,
    pipeline=[
        dict(load, test_mode=True),
        dict(type='mmtvr.AddUnequalNoise', test_mode=True),
        *to_tensor,
    ],
)

train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=train)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=test)
test_dataloader = val_dataloader

model = dict(
    head=dict(levels=['word'], visual_attention=0.0),
    contrastive_loss=dict(_delete_=True, type='mmtvr.InfoNCELoss'),
)
