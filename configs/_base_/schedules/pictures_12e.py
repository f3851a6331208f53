# A schedule for projections on frozen towers: 12 epochs of some hundred pairs at
# a batch of 64, 10 % warm-up, then a cosine to zero. The last epoch counts.
_base_ = './moving_shapes_10e.py'

max_epochs = 12

optim_wrapper = dict(optimizer=dict(lr=4e-3))

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=0.1 * max_epochs,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0.1 * max_epochs,
        end=max_epochs,
        T_max=0.9 * max_epochs,
        eta_min=0,
        convert_to_iter_based=True),
]

train_cfg = dict(max_epochs=max_epochs, val_interval=4)
