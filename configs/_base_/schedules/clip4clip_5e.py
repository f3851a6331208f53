# The recipe of the CLIP4Clip family: 5 epochs at a global batch of 128, 1e-4
# for new parts and 1e-7 for CLIP, 10 % warm-up, then a cosine to zero.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2
    ),
    constructor='mmtvr.TwoRateConstructor',
    paramwise_cfg=dict(
        slow=('text_encoder', 'frame_encoder', 'logit_scale'),
        slow_lr_mult=1e-3,
    ),
    clip_grad=dict(max_norm=1.0),
)

# Its length is that of the run, train_cfg.max_epochs.
param_scheduler = dict(
    type='mmtvr.WarmupCosineLR',
    warmup=0.1,
    start_factor=0.01,
    convert_to_iter_based=True)

train_cfg = dict(
    type='mmtvr.ResumableTrainLoop', max_epochs=5, val_interval=1)
val_cfg = dict(type='mmtvr.RetrievalValLoop')
test_cfg = dict(type='mmtvr.RetrievalTestLoop')

# base_batch_size = 8 GPUs x 16 pairs
auto_scale_lr = dict(enable=False, base_batch_size=128)
