"""Towers of open_clip and timm models, random and as small as they come.

Both libraries need torchvision, which does not go with every build of
PyTorch; docs/how-to/encoders.md says with which versions this file was run.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import adaptive_avg_pool2d, normalize

from mmtvr.config import load_config
from mmtvr.config.encoder import read_pair
from mmtvr.datasets import TokenizeText
from mmtvr.errors import SetupError
from mmtvr.models import ImageTower, TextTower
from mmtvr.registry import MODELS

pytest.importorskip('timm', reason='needs mmtvr[open_clip], torchvision')
library = pytest.importorskip(
    'open_clip', reason='needs mmtvr[open_clip], torchvision'
)

ROOT = Path(__file__).resolve().parents[3]
RECIPE = str(ROOT / 'configs/clip4clip_moving_shapes.py')
CAPTIONS = ['a red circle rises', "The dog's BLUE star, falling!", 'x']
EXACT = dict(rtol=0, atol=1e-5)
#: Family and the model of open_clip with its classes; DFN is a plain ViT.
MODELS_OF = {
    'PE-Core': 'PE-Core-T-16-384',
    'DFN': 'ViT-B-16-quickgelu',
    'EVA02': 'EVA02-B-16',
    'MobileCLIP2': 'MobileCLIP2-S0',
}
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Makes the folder of a family, as its repository has it."""
    made = {}

    def make(family: str) -> Path:
        if family in made:
            return made[family]
        config = library.get_model_config(MODELS_OF[family])
        config['text_cfg']['layers'] = 2
        config['vision_cfg'].setdefault('layers', 2)
        if family == 'DFN':
            config['vision_cfg'].update(layers=2, width=64, head_width=16)
        else:
            del config['vision_cfg']['layers']
        folder = tmp_path_factory.mktemp(family)
        content = dict(
            model_cfg=config, preprocess_cfg=dict(mean=MEAN, std=STD)
        )
        path = folder / 'open_clip_config.json'
        path.write_text(json.dumps(content))
        torch.manual_seed(0)
        model = library.create_model(f'local-dir:{folder}', load_weights=False)
        with torch.no_grad():
            model.logit_scale.fill_(2.5)
        save_file(model.state_dict(), folder / 'open_clip_model.safetensors')
        made[family] = folder
        return folder

    return make


def load(folder):
    model = library.create_model(f'local-dir:{folder}').eval()
    return model, library.get_tokenizer(f'local-dir:{folder}')


def tokenize(name, max_words=20):
    sample = TokenizeText(name, max_words=max_words)(dict(text=CAPTIONS))
    return (
        torch.from_numpy(sample['tokens']),
        torch.from_numpy(sample['token_mask']),
    )


@torch.no_grad()
@pytest.mark.parametrize('family', MODELS_OF)
def test_words_and_sentence_equal_open_clip(family, folders):
    name = f'open_clip:{folders(family)}'
    model, tokenizer = load(folders(family))
    pieces = tokenizer(CAPTIONS)
    text = getattr(model, 'text', model)
    hidden = []
    text.ln_final.register_forward_hook(lambda *call: hidden.append(call[2]))
    sentence = model.encode_text(pieces, normalize=True)
    words = normalize(hidden[0] @ text.text_projection, dim=-1)
    width = words.shape[-1]
    tower = TextTower(name, width, projection=False).eval()
    for max_words in (20, tower.text_length):
        tokens, mask = tokenize(name, max_words)
        # Padding of the transform, whatever it is, is not read.
        found = tower(tokens.masked_fill(~mask, 9), mask)
        assert torch.equal(tokens[mask], pieces[pieces > 0])
        torch.testing.assert_close(found.pooled, sentence, **EXACT)
        for row, theirs, real in zip(found.tokens, words, mask, strict=True):
            torch.testing.assert_close(
                row[real], theirs[: real.sum()], **EXACT
            )
    with pytest.raises(SetupError, match='max_words'):
        tower(*(torch.ones(1, tower.text_length + 1).long() for _ in range(2)))


@torch.no_grad()
@pytest.mark.parametrize('family', MODELS_OF)
def test_frames_and_patches_equal_open_clip(family, folders):
    name = f'open_clip:{folders(family)}'
    model, _ = load(folders(family))
    size = read_pair(name, name).image_size
    images = torch.randn(2, 3, size, size)
    expected = model.encode_image(images, normalize=True)
    tower = ImageTower(name, expected.shape[1], projection=False).eval()
    mask = torch.ones(1, 2).bool()
    found = tower(images[None], mask)
    torch.testing.assert_close(found.tokens[0], expected, **EXACT)
    tower = ImageTower(name, 8, regions=(2, 3)).eval()
    found = tower(images[None], mask)
    assert found.tokens.shape == (1, 12, 8)
    if family in ('PE-Core', 'EVA02'):
        trunk = model.visual.trunk
        patches = trunk.forward_features(images)[:, trunk.num_prefix_tokens :]
        side = round(patches.shape[1] ** 0.5)
        maps = patches.transpose(1, 2).unflatten(2, (side, side))
        cells = adaptive_avg_pool2d(maps, (2, 3)).flatten(2).transpose(1, 2)
        project = tower.region_projection or tower.projection
        cells = normalize(project(cells), dim=-1).flatten(0, 1)
        torch.testing.assert_close(found.tokens[0], cells, **EXACT)
    if family != 'MobileCLIP2':
        # That one is a convolutional network and reads any size.
        with pytest.raises(SetupError, match=f'30x30.*crop_size={size}'):
            tower.model(torch.zeros(1, 3, 30, 30))


def test_one_name_sets_both_towers(folders):
    name = f'open_clip:{folders("DFN")}'
    cfg = load_config(RECIPE, {'model.encoder': name})
    assert cfg.model.text_encoder == dict(
        type='mmtvr.TextTower', encoder=name, embed_dims=512, projection=False
    )
    np.testing.assert_allclose(
        cfg.model.data_preprocessor.mean, np.multiply(MEAN, 255), atol=1e-3
    )
    assert cfg.model.logit_scale.init == pytest.approx(np.exp(2.5))
    pipeline = cfg.train_dataloader.dataset.pipeline
    steps = {step['type'].rpartition('.')[2]: step for step in pipeline}
    assert steps['TokenizeText'].tokenizer == name
    assert steps['CenterCrop'].crop_size == 224
    model = MODELS.build(cfg.model).train()
    tokens, mask = tokenize(name)
    frames = torch.randint(0, 255, (3, 2, 3, 224, 224), dtype=torch.uint8)
    inputs = dict(
        tokens=tokens,
        token_mask=mask,
        frames=frames,
        frame_mask=torch.ones(3, 2).bool(),
        video_of_text=torch.arange(3),
        video_ids=torch.arange(3),
    )
    losses = model(inputs, mode='loss')
    losses['loss_contrastive'].backward()
    unused = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not unused


def test_what_does_not_fit_is_refused(folders, tmp_path):
    folder = folders('DFN')
    (tmp_path / 'open_clip_model.safetensors').symlink_to(
        folder / 'open_clip_model.safetensors'
    )
    content = json.loads((folder / 'open_clip_config.json').read_text())
    content['model_cfg']['vision_cfg']['patch_size'] = 32
    (tmp_path / 'open_clip_config.json').write_text(json.dumps(content))
    path = tmp_path / 'open_clip_config.json'
    with pytest.raises(SetupError, match=r'size mismatch.*conv1'):
        ImageTower(f'open_clip:{tmp_path}')
    content['model_cfg']['text_cfg']['hf_model_name'] = 'some/roberta'
    path.write_text(json.dumps(content))
    with pytest.raises(SetupError, match=r'some/roberta.*dict\(text='):
        ImageTower(f'open_clip:{tmp_path}')


@torch.no_grad()
@pytest.mark.parametrize(
    'architecture',
    ['resnet10t', 'vit_tiny_patch16_224', 'eva02_tiny_patch14_224'],
)
def test_timm_by_its_transformers_wrapper(architecture, tmp_path):
    import timm

    torch.manual_seed(0)
    theirs = timm.create_model(architecture, num_classes=0).eval()
    content = dict(
        architecture=architecture,
        num_classes=0,
        pretrained_cfg=dict(
            input_size=[3, 224, 224], mean=MEAN, std=STD, crop_pct=1.0
        ),
    )
    (tmp_path / 'config.json').write_text(json.dumps(content))
    save_file(theirs.state_dict(), tmp_path / 'model.safetensors')
    images = torch.randn(2, 3, 224, 224)
    vectors = theirs(images)
    features = theirs.forward_features(images)
    if features.ndim == 3:
        patches = features[:, theirs.num_prefix_tokens :].transpose(1, 2)
        side = round(patches.shape[2] ** 0.5)
        features = patches.unflatten(2, (side, side))
    width = vectors.shape[1]
    name = str(tmp_path)
    tower = ImageTower(name, width, projection=False, regions=(2, 2)).eval()
    found = tower(images[None], torch.ones(1, 2).bool())
    facts = read_pair('mmtvr://moving-shapes-clip', name)
    assert facts.image_size == 224
    np.testing.assert_allclose(facts.std, np.multiply(STD, 255), atol=1e-3)
    cells = adaptive_avg_pool2d(features, (2, 2)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(
        found.tokens[0], normalize(cells, dim=-1).flatten(0, 1), **EXACT
    )
    mean = normalize(normalize(vectors, dim=-1).mean(0), dim=-1)
    torch.testing.assert_close(found.pooled[0], mean, **EXACT)
