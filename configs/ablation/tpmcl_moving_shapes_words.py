# TPM-CL on (tg, v) > (tg', v) alone.
_base_ = '../released/tpmcl_moving_shapes.py'

model = dict(partial_loss=dict(triplets=('words',)))
