_base_ = [
    './_base_/datasets/msvd.py',
    './_base_/models/tpmcl_vit-b16.py',
    './_base_/schedules/clip4clip_5e.py',
    './_base_/default_runtime.py',
]
