"""The rows of the ablation on moving shapes: a config with options each."""

TPMCL = 'configs/tpmcl_moving_shapes.py'
LOSS = 'model.partial_loss'


def ablation(name: str) -> str:
    """Path of one of the configs of the ablation."""
    return f'configs/ablation/{name}.py'


ROWS: dict[str, tuple[str, dict[str, object]]] = {
    'mean pooling, InfoNCE': ('configs/clip4clip_moving_shapes.py', {}),
    'sentence level': (ablation('token-wise_moving_shapes_sentence'), {}),
    'word level': (ablation('token-wise_moving_shapes_word'), {}),
    'sentence + word level': (ablation('dmae_moving_shapes_token-wise'), {}),
    '+ visual attention': (ablation('dmae_moving_shapes_info-nce'), {}),
    '+ NegNCE (DMAE)': ('configs/dmae_moving_shapes.py', {}),
    'DMAE, no visual attention': (
        ablation('dmae_moving_shapes_no-visual-attention'),
        {},
    ),
    'DMAE, no key words': (ablation('dmae_moving_shapes_no-key-words'), {}),
    'DMAE, learned weighting': (ablation('dmae_moving_shapes_learned'), {}),
    'DMAE, frame transformer': (
        ablation('dmae_moving_shapes_frame-transformer'),
        {},
    ),
    '+ TPM-CL, margin 0.1': (TPMCL, {}),
    '+ TPM-CL, margin 0.05': (TPMCL, {f'{LOSS}.margin': 0.05}),
    '+ TPM-CL, margin 0.2': (TPMCL, {f'{LOSS}.margin': 0.2}),
    '+ TPM-CL, margin 0.6': (TPMCL, {f'{LOSS}.margin': 0.6}),
    '+ TPM-CL, weight 0.1': (TPMCL, {f'{LOSS}.loss_weight': 0.1}),
    '+ TPM-CL, weight 0.3': (TPMCL, {f'{LOSS}.loss_weight': 0.3}),
    '+ TPM-CL, frames': (ablation('tpmcl_moving_shapes_frames'), {}),
    '+ TPM-CL, word global': (
        ablation('tpmcl_moving_shapes_word-global-frames'),
        {},
    ),
    '+ TPM-CL, words': (ablation('tpmcl_moving_shapes_words'), {}),
    '+ TPM-CL, frame global': (
        ablation('tpmcl_moving_shapes_frame-global'),
        {},
    ),
    '+ TPM-CL, released three': (
        ablation('tpmcl_moving_shapes_released'),
        {},
    ),
    '+ TPM-CL, min_removed 1': (
        ablation('tpmcl_moving_shapes_min-removed'),
        {},
    ),
    '+ TPM-CL, cosine importance': (
        ablation('tpmcl_moving_shapes_cosine-importance'),
        {},
    ),
    '+ TPM-CL, cosine, margin 0.3': (
        ablation('tpmcl_moving_shapes_cosine-importance'),
        {f'{LOSS}.margin': 0.3},
    ),
}
