# The tiny CLIP that ships with the project in place of ViT-B/32.
_base_ = './clip4clip_vit-b32.py'

clip = 'mmtvr://moving-shapes-clip'

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    text_encoder=dict(clip=clip),
    frame_encoder=dict(clip=clip),
)
