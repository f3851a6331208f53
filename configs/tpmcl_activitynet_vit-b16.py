_base_ = [
    './_base_/datasets/activitynet.py',
    './_base_/models/tpmcl_vit-b16.py',
    './_base_/schedules/clip4clip_5e.py',
    './_base_/default_runtime.py',
]

model = dict(partial_loss=dict(max_words=64, max_frames=64))
