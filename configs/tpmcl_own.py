_base_ = [
    './_base_/datasets/own.py',
    './_base_/models/tpmcl_vit-b32.py',
    './_base_/schedules/clip4clip_5e.py',
    './_base_/default_runtime.py',
]
