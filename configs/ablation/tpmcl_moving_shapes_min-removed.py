# TPM-CL that always removes a frame and a word: a predictor that has learned
# which one token counts would otherwise have nothing removed.
_base_ = '../released/tpmcl_moving_shapes.py'

model = dict(partial_loss=dict(min_removed=1))
