# Weighted token-wise interaction after a temporal encoder: WTI + seqTransf of
# DRL (arXiv:2203.07111). Not run here.
_base_ = './ti_msrvtt.py'

model = dict(head=dict(weighting='learned', hidden_layers=1))
