# The released head and loss on the towers and the temporal branch of
# token-wise_moving-shapes_residual.py: both levels averaged, visual
# attention, NegNCE.
_base_ = './token-wise_moving-shapes_residual.py'

model = dict(
    head=dict(_delete_=True, type='mmtvr.DMAEHead', embed_dims=96),
    contrastive_loss=dict(_delete_=True, type='mmtvr.NegNCELoss'))
