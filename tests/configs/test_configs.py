from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmtvr.config import check_config, expand_encoder
from mmtvr.registry import MODELS, TRANSFORMS

FOLDER = Path(__file__).parents[2] / 'configs'
CONFIGS = sorted(
    str(path.relative_to(FOLDER).with_suffix(''))
    for path in FOLDER.rglob('*.py')
    if '_base_' not in path.parts
)
SHIPPED = 'mmtvr://moving-shapes-clip'


def read(name, tiny_clip, tower_model):
    """Read a config, with tiny towers where it asks for large ones."""
    config = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope(config.default_scope)
    model = config.model
    if 'encoder' in model:
        model.encoder = SHIPPED
        expand_encoder(config)
        return config
    if model.text_encoder.type == 'mmtvr.TextTower':
        model.text_encoder.encoder = str(tower_model('bert'))
        model.frame_encoder.encoder = str(tower_model('vit'))
        for step in config.train_dataloader.dataset.pipeline:
            if 'max_words' in step:
                step.max_words = 16
        return config
    if model.text_encoder.clip.startswith(SHIPPED):
        return config
    model.text_encoder.clip = model.frame_encoder.clip = str(tiny_clip)
    if 'temporal' in model:
        model.temporal.update(clip=str(tiny_clip), embed_dims=32, num_layers=2)
    if 'temporal' in model.head:
        model.head.temporal.update(clip=str(tiny_clip), num_layers=2)
    for part in ('head', 'partial_loss'):
        if 'embed_dims' in model.get(part, {}):
            model[part].embed_dims = 32
    return config


def make_sample(config, size, number):
    """A sample as the text part of the config's own pipeline makes it."""
    pipeline = config.train_dataloader.dataset.pipeline
    steps = {step['type']: dict(step) for step in pipeline}
    frames = steps['mmtvr.LoadVideoFrames']['num_frames']
    tokenize = steps['mmtvr.TokenizeText']
    encoder = config.model.text_encoder
    tokenize['tokenizer'] = encoder.get('encoder') or encoder.clip
    sample = TRANSFORMS.build(tokenize)(
        dict(text='a red bar resting', video_id=number, sample_idx=number)
    )
    generator = torch.Generator().manual_seed(number)
    shape = (frames, 3, size, size)
    sample['imgs'] = torch.randint(
        256, shape, generator=generator, dtype=torch.uint8
    ).numpy()
    return TRANSFORMS.build(steps['mmtvr.PackTextVideo'])(sample)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_has_no_unknown_key(name):
    config = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope(config.default_scope)
    if 'encoder' in config.model:
        config.model.encoder = SHIPPED
        expand_encoder(config)
    check_config(config)


@pytest.mark.parametrize('name', CONFIGS)
def test_model_of_config_takes_a_training_step(
    name, tiny_clip, tower_model, tmp_path
):
    config = read(name, tiny_clip, tower_model)
    torch.manual_seed(0)
    if 'teacher' in config.model:
        config.model.teacher_checkpoint = str(tmp_path / 'teacher.pth')
        weights = MODELS.build(config.model.teacher).state_dict()
        torch.save(dict(state_dict=weights), tmp_path / 'teacher.pth')
    model = MODELS.build(config.model)
    if hasattr(model.frame_encoder, 'clip'):
        size = model.frame_encoder.clip.config.image_size
    elif hasattr(model.frame_encoder, 'image_size'):
        size = model.frame_encoder.image_size[0]
    else:
        size = model.frame_encoder.model.image_size
    samples = [make_sample(config, size, number) for number in range(3)]
    batch = dict(
        inputs={
            key: [sample['inputs'][key] for sample in samples]
            for key in samples[0]['inputs']
        },
        data_samples=[sample['data_samples'] for sample in samples],
    )
    learned = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-3)
    before = [parameter.detach().clone() for parameter in learned]
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    optimizer.step()
    changed = [
        not torch.equal(old, new)
        for old, new in zip(before, learned, strict=True)
    ]
    assert sum(changed) > len(changed) / 2


@pytest.mark.parametrize('method', ['clip4clip', 'dmae', 'tpmcl'])
@pytest.mark.parametrize('backbone', ['', '_vit-b16'])
@pytest.mark.parametrize(
    ('dataset', 'words', 'frames', 'test_file'),
    [
        ('msrvtt', 32, 12, 'test_JSFUSION.json'),
        ('msvd', 32, 12, 'test.json'),
        ('lsmdc', 32, 12, 'test.json'),
        ('vatex', 32, 12, 'test.json'),
        ('didemo', 64, 64, 'test_paragraph.json'),
        ('activitynet', 64, 64, 'val_1_paragraph.json'),
    ],
)
def test_recipe_has_words_and_frames_of_the_field(
    method, backbone, dataset, words, frames, test_file
):
    name = f'{method}_{dataset}{backbone}'
    config = Config.fromfile(FOLDER / f'{name}.py')
    size = '16' if backbone else '32'
    for part in ('text_encoder', 'frame_encoder', 'temporal'):
        if part in config.model:
            clip = config.model[part].clip
            assert clip == f'openai/clip-vit-base-patch{size}'
    for loader in ('train', 'val', 'test'):
        source = config[f'{loader}_dataloader'].dataset
        assert source.data_root == f'data/video_retrieval/{dataset}'
        steps = {step['type']: step for step in source.pipeline}
        assert steps['mmtvr.TokenizeText'].max_words == words
        assert steps['mmtvr.LoadVideoFrames'].num_frames == frames
        testing = loader != 'train'
        assert steps['mmtvr.LoadVideoFrames'].get('test_mode', False) == (
            testing
        )
        assert source.get('test_mode', False) == testing
    assert source.ann_file == test_file
    if method == 'tpmcl':
        assert config.model.partial_loss.max_words == words
        assert config.model.partial_loss.max_frames == frames


@pytest.mark.parametrize('method', ['clip4clip', 'dmae', 'tpmcl'])
def test_recipes_of_moving_shapes_differ_in_the_model_only(method):
    folder = FOLDER / ('released' if method == 'tpmcl' else '')
    config = Config.fromfile(folder / f'{method}_moving_shapes.py')
    other = Config.fromfile(FOLDER / 'released/tpmcl_moving_shapes.py')
    for key in ('train_dataloader', 'optim_wrapper', 'param_scheduler'):
        assert config[key] == other[key]
    assert config.train_cfg == other.train_cfg


def test_default_of_moving_shapes_contains_what_it_is_named_after():
    config = Config.fromfile(FOLDER / 'tpmcl_moving_shapes.py')
    assert config.model.partial_loss.type == 'mmtvr.TPMCLLoss'
    released = Config.fromfile(FOLDER / 'released/tpmcl_moving_shapes.py')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg'):
        assert config[key] == released[key]
    assert released.model.head.levels == ('sentence', 'word')
    assert released.model.temporal is None
