# The tiny CLIP that ships with the project in place of ViT-B/32, and SigLIP's
# start of a training from scratch: 31 steps an epoch are too few to come down
# from a scale of 117.
_base_ = './videocolbert_vit-b32.py'

clip = 'mmtvr://moving-shapes-clip'

model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    text_encoder=dict(clip=clip),
    frame_encoder=dict(clip=clip),
    head=dict(
        embed_dims=96, temporal=dict(num_layers=1, max_frames=16, clip=None)),
    contrastive_loss=dict(bias=-10.0),
    logit_scale=dict(init=10.0))
