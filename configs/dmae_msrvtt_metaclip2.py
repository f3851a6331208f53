# MetaCLIP 2 B/16, trained on 300 languages, for both towers. Not run here:
# neither the weights nor the videos were at hand; its settings were tried with
# tiny random models alone.
_base_ = './dmae_msrvtt.py'

model = dict(encoder='facebook/metaclip-2-worldwide-b16')
