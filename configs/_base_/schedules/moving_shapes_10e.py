# A short schedule for small towers: 10 epochs at a batch of 64, one rate for
# all parts, 10 % warm-up, then a cosine to zero.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.05
    ),
    constructor='mmtvr.TwoRateConstructor',
    paramwise_cfg=dict(slow_lr_mult=1.0),
    clip_grad=dict(max_norm=1.0),
)

# Its length is that of the run, train_cfg.max_epochs.
param_scheduler = dict(
    type='mmtvr.WarmupCosineLR',
    warmup=0.1,
    start_factor=0.01,
    convert_to_iter_based=True)

train_cfg = dict(
    type='mmtvr.ResumableTrainLoop', max_epochs=10, val_interval=5)
val_cfg = dict(type='mmtvr.RetrievalValLoop')
test_cfg = dict(type='mmtvr.RetrievalTestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=64)
