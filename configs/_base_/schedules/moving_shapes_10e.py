# A short schedule for small towers: 10 epochs at a batch of 64, one rate for
# all parts, 10 % warm-up, then a cosine to zero.
max_epochs = 10

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05
    ),
    constructor='mmtvr.TwoRateConstructor',
    paramwise_cfg=dict(slow_lr_mult=1.0),
    clip_grad=dict(max_norm=1.0),
)

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=0.1 * max_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0.1 * max_epochs,
        end=max_epochs,
        T_max=0.9 * max_epochs,
        eta_min=0,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(
    type='mmtvr.ResumableTrainLoop', max_epochs=max_epochs, val_interval=5
)
val_cfg = dict(type='mmtvr.RetrievalValLoop')
test_cfg = dict(type='mmtvr.RetrievalTestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=64)
