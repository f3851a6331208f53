# TPM-CL with the three comparisons of the released code.
_base_ = '../released/tpmcl_moving_shapes.py'

model = dict(
    partial_loss=dict(triplets=('frames', 'word_global_frames', 'words'))
)
