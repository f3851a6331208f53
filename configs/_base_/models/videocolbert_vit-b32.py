# Video-ColBERT (arXiv:2503.19009): MeanMaxSim of all query tokens, padding
# included, with the frames and with what a temporal encoder makes of them; a
# sigmoid loss for each level. Scale and bias start as those of SigLIP's
# released B/16 model; neither they nor the number of visual expansion tokens
# could be read in the paper.
_base_ = './clip4clip_vit-b32.py'

model = dict(
    text_encoder=dict(query_expansion=True),
    head=dict(
        _delete_=True,
        type='mmtvr.VideoColBERTHead',
        embed_dims=512,
        expansion_tokens=2,
        temporal=dict(
            type='mmtvr.FrameTransformer',
            num_layers=4,
            clip={{_base_.clip}})),
    contrastive_loss=dict(
        _delete_=True, type='mmtvr.DualSigmoidLoss', bias=-12.93),
    logit_scale=dict(init=117.33, learnable=True, max=1000.))
