# A schedule for projections on frozen towers: 12 epochs of some hundred pairs at
# a batch of 64, 10 % warm-up, then a cosine to zero. The last epoch counts.
_base_ = './moving_shapes_10e.py'

optim_wrapper = dict(optimizer=dict(lr=4e-3))

train_cfg = dict(max_epochs=12, val_interval=4)
