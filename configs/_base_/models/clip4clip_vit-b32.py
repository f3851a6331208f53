# Mean pooling and the symmetric contrastive loss: CLIP4Clip (meanP).
clip = 'openai/clip-vit-base-patch32'

model = dict(
    type='mmtvr.TextVideoRetriever',
    data_preprocessor=dict(
        type='mmtvr.TextVideoPreprocessor',
        mean=[122.7709, 116.7460, 104.0937],
        std=[68.5005, 66.6322, 70.3232],
    ),
    text_encoder=dict(type='mmtvr.CLIPTextEncoder', clip=clip),
    frame_encoder=dict(type='mmtvr.CLIPFrameEncoder', clip=clip),
    head=dict(type='mmtvr.CosineHead'),
    contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
    logit_scale=dict(init=100.0, learnable=True, max=100.0),
)
