# TPM-CL that removes what is most similar to the other side, instead of what a
# predictor learns to be important.
_base_ = '../released/tpmcl_moving_shapes.py'

model = dict(partial_loss=dict(importance='cosine'))
