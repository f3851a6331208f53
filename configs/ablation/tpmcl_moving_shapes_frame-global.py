# TPM-CL on (t, vg) > (t, vg') alone.
_base_ = '../released/tpmcl_moving_shapes.py'

model = dict(partial_loss=dict(triplets=('frame_global',)))
