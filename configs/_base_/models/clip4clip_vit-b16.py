# The same with patches of 16 pixels. Its tokenizer is that of ViT-B/32.
_base_ = './clip4clip_vit-b32.py'

clip = 'openai/clip-vit-base-patch16'

model = dict(text_encoder=dict(clip=clip), frame_encoder=dict(clip=clip))
