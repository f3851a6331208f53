# The tiny CLIP that ships with the project in place of ViT-B/32. Without a
# temporal encoder: in the few epochs of this recipe it costs more than it
# brings.
_base_ = './dmae_vit-b32.py'

clip = 'mmtvr://moving-shapes-clip'

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    text_encoder=dict(clip=clip),
    frame_encoder=dict(clip=clip),
    temporal=None,
    head=dict(embed_dims=96),
)
