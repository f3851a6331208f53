# One vector per video, taught by the token-wise model of
# dmae_moving_shapes.py, which must be trained first:
#   python tools/train.py configs/dmae_moving_shapes.py
_base_ = './clip4clip_moving_shapes.py'

clip = 'mmtvr://moving-shapes-clip'

model = dict(
    type='mmtvr.DistilledRetriever',
    temporal=dict(type='mmtvr.FrameAggregation', embed_dims=96),
    teacher=dict(
        type='mmtvr.TextVideoRetriever',
        data_preprocessor=dict(
            type='mmtvr.TextVideoPreprocessor',
            mean=[127.5] * 3,
            std=[127.5] * 3),
        text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
        frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
        head=dict(type='mmtvr.DMAEHead', embed_dims=96),
        contrastive_loss=dict(type='mmtvr.NegNCELoss')),
    teacher_checkpoint='work_dirs/dmae_moving_shapes/epoch_10.pth')
