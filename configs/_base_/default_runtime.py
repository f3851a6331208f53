default_scope = 'mmtvr'

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20, ignore_last=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='mmtvr.AtomicCheckpointHook',
        interval=1,
        every_n_iters=500,
        max_keep_ckpts=3,
        save_best='retrieval/R1',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

custom_hooks = [
    dict(type='mmtvr.NonFiniteHook', on_nonfinite='stop'),
    dict(type='mmtvr.TrainingStatsHook'),
    dict(type='mmtvr.UnreadableVideosHook', max_share=0.01),
    dict(type='mmtvr.ResultTableHook'),
]

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Several processes stop after so many seconds without progress.
    dist_cfg=dict(backend='nccl', timeout=600),
)

log_processor = dict(window_size=20, by_epoch=True)
visualizer = dict(
    type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)
