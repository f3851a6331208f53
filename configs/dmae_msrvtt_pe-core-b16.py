# PE-Core B/16 of open_clip for both towers; needs mmtvr[open_clip]. Captions
# have at most 32 word pieces. Not run here: neither the weights nor the videos
# were at hand; its settings were tried with random models alone.
_base_ = './dmae_msrvtt.py'

model = dict(encoder='open_clip:timm/PE-Core-B-16')
