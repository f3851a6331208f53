# Not run here: MSR-VTT and CLIP's weights were not at hand.
_base_ = [
    './_base_/datasets/msrvtt.py',
    './_base_/models/videocolbert_vit-b32.py',
    './_base_/schedules/clip4clip_5e.py',
    './_base_/default_runtime.py',
]
