# SigLIP 2 B/16 for both towers. Not run here: neither the weights nor the
# videos were at hand; its settings were tried with tiny random models alone.
_base_ = './dmae_msrvtt.py'

model = dict(encoder='google/siglip2-base-patch16-224')
