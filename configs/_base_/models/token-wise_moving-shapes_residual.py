# Words to frames, all words alike, and a temporal branch that starts at zero.
# This tiny CLIP knows words of motion, and motion in frames; the other one
# gives all words of motion one feature.
_base_ = './clip4clip_vit-b32.py'

clip = 'mmtvr://moving-shapes-clip-motion'

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    text_encoder=dict(clip=clip),
    frame_encoder=dict(clip=clip, raw_frames=True, motion=dict()),
    temporal=dict(type='mmtvr.ResidualFrameTransformer', embed_dims=96),
    head=dict(
        _delete_=True, type='mmtvr.TokenWiseHead', embed_dims=96,
        level='word'))
