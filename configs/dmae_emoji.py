_base_ = [
    './_base_/datasets/emoji.py',
    './_base_/models/dmae_minilm-lite0.py',
    './_base_/schedules/pictures_12e.py',
    './_base_/default_runtime.py',
]
