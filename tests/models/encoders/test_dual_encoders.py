"""Each family of dual encoders gives what transformers gives."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from dual_models import DUAL_FAMILIES, FRAMES, IMAGE, POSITIONS, WIDTH
from mmengine.config import Config
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from mmtvr.apis.searcher import TextVideoSearcher, open_searcher
from mmtvr.config import load_config
from mmtvr.config.encoder import read_encoder
from mmtvr.datasets import TokenizeText
from mmtvr.errors import SetupError
from mmtvr.models import (
    CLIPFrameEncoder,
    CLIPTextEncoder,
    CosineHead,
    DualFrameEncoder,
    DualTextEncoder,
    TextVideoRetriever,
)
from mmtvr.registry import MODELS

ROOT = Path(__file__).resolve().parents[3]
CAPTIONS = ['a red circle', 'the blue star', 'circle']
VIDEO_FAMILIES = ('xclip', 'videoprism')
CAUSAL = ('clip', 'metaclip_2', 'clipseg', 'xclip')
EXACT = dict(rtol=0, atol=1e-5)


def tokenize(folder, max_words=14):
    sample = TokenizeText(str(folder), max_words=max_words)(
        dict(text=CAPTIONS)
    )
    return (
        torch.from_numpy(sample['tokens']),
        torch.from_numpy(sample['token_mask']),
    )


def draw_frames(family, videos=3, frames=FRAMES):
    size = 48 if family == 'clipseg' else IMAGE
    generator = torch.Generator().manual_seed(1)
    shape = (videos, frames, 3, size, size)
    return torch.randn(shape, generator=generator)


def read_captions(family, folder):
    """What the model's own documentation feeds it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    padding = dict(padding=True)
    if family in ('siglip', 'videoprism'):
        padding = dict(padding='max_length', max_length=POSITIONS)
    inputs = tokenizer(CAPTIONS, return_tensors='pt', **padding)
    # Tokenizers of CLIP and SigLIP give none, or none that is used.
    keys = ['input_ids', 'attention_mask']
    if family == 'siglip':
        keys = ['input_ids']
    return {key: inputs[key] for key in keys}


def run_transformers(family, folder, frames):
    """All outputs of the whole model for captions and first frames."""
    model = AutoModel.from_pretrained(folder).eval()
    captions = read_captions(family, folder)
    if family == 'xclip':
        return model, model(pixel_values=frames, **captions)
    if family == 'videoprism':
        return model, model(pixel_values_videos=frames, **captions)
    return model, model(pixel_values=frames[:, 0], **captions)


@torch.no_grad()
@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_embeddings_and_logits_equal_those_of_transformers(family, dual_model):
    folder = dual_model(family)
    frames = draw_frames(family)
    model, theirs = run_transformers(family, folder, frames)
    text = DualTextEncoder(str(folder)).eval()(*tokenize(folder))
    encoder = DualFrameEncoder(str(folder)).eval()
    if family in VIDEO_FAMILIES:
        video = encoder(frames, torch.ones(3, FRAMES).bool())
        expected = theirs.video_embeds
    else:
        video = encoder(frames[:, :1], torch.ones(3, 1).bool())
        expected = theirs.image_embeds
    torch.testing.assert_close(
        video.pooled, normalize(expected, dim=-1), **EXACT
    )
    expected = theirs.text_embeds
    if family == 'xclip':
        # XCLIPModel.forward adds what its prompt generator makes of each
        # video; the text alone is its get_text_features.
        captions = read_captions(family, folder)
        expected = model.get_text_features(**captions).pooler_output
    torch.testing.assert_close(
        text.pooled, normalize(expected, dim=-1), **EXACT
    )
    # VideoPrism's logits are a softmax, X-CLIP's see prompts.
    if family not in VIDEO_FAMILIES:
        facts = read_encoder(str(folder))
        logits = text.pooled @ video.pooled.T * facts.logit_scale
        logits += facts.logit_bias or 0
        torch.testing.assert_close(
            logits, theirs.logits_per_text, rtol=1e-5, atol=1e-5
        )


@torch.no_grad()
@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_words_are_projected_hidden_states(family, dual_model):
    folder = dual_model(family)
    tokens, mask = tokenize(folder)
    words = DualTextEncoder(str(folder)).eval()(tokens, mask).tokens
    model = AutoModel.from_pretrained(folder).eval()
    captions = read_captions(family, folder)
    hidden = model.get_text_features(**captions).last_hidden_state
    if family == 'siglip':
        hidden = model.text_model.head(hidden)
    elif family != 'videoprism':
        hidden = model.text_projection(hidden)
    for row, theirs, real in zip(words, hidden, mask, strict=True):
        torch.testing.assert_close(
            row[real], normalize(theirs[: real.sum()], dim=-1), **EXACT
        )
    torch.testing.assert_close(words.norm(dim=-1), torch.ones(words.shape[:2]))


@torch.no_grad()
@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_frames_of_a_video(family, dual_model):
    folder = dual_model(family)
    frames = draw_frames(family)
    mask = torch.ones(3, FRAMES).bool()
    video = DualFrameEncoder(str(folder)).eval()(frames, mask)
    model = AutoModel.from_pretrained(folder).eval()
    if family == 'xclip':
        found = model(pixel_values=frames, **read_captions(family, folder))
        expected = found.mit_output.last_hidden_state
    elif family == 'videoprism':
        found = model.get_video_features(pixel_values_videos=frames)
        patches = found.last_hidden_state.unflatten(1, (FRAMES, -1))
        expected = patches.mean(2)
    else:
        images = frames.flatten(0, 1)
        found = model.get_image_features(pixel_values=images)
        expected = found.pooler_output.unflatten(0, (3, FRAMES))
    torch.testing.assert_close(
        video.tokens, normalize(expected, dim=-1), **EXACT
    )
    if family not in VIDEO_FAMILIES:
        torch.testing.assert_close(
            video.pooled, normalize(video.tokens.mean(1), dim=-1), **EXACT
        )


@torch.no_grad()
@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_padding_of_captions_changes_nothing(family, dual_model):
    folder = dual_model(family)
    encoder = DualTextEncoder(str(folder)).eval()
    tokens, mask = tokenize(folder, 7 if family not in CAUSAL else 14)
    longer, longer_mask = tokenize(folder, POSITIONS)
    before = encoder(tokens, mask)
    for other in (3, 5):
        after = encoder(longer.masked_fill(~longer_mask, other), longer_mask)
        torch.testing.assert_close(before.pooled, after.pooled, **EXACT)
        torch.testing.assert_close(
            before.tokens[mask], after.tokens[longer_mask], **EXACT
        )
    paragraph = encoder(tokens[:, None], mask[:, None])
    torch.testing.assert_close(paragraph.pooled, before.pooled, **EXACT)


@torch.no_grad()
def test_padded_frames_count_nowhere(dual_model):
    encoder = DualFrameEncoder(str(dual_model('siglip'))).eval()
    frames, mask = draw_frames('siglip'), torch.ones(3, FRAMES).bool()
    mask[:, 2:] = False
    other = frames.masked_fill(~mask[..., None, None, None], 7)
    torch.testing.assert_close(
        encoder(frames, mask).pooled, encoder(other, mask).pooled
    )


@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_each_tower_has_no_foreign_parameters(family, dual_model):
    folder = str(dual_model(family))
    text, frames = DualTextEncoder(folder), DualFrameEncoder(folder)
    whole = torch.ones(3, FRAMES).bool()
    for found in (
        text.eval()(*tokenize(folder)),
        frames.eval()(draw_frames(family), whole),
    ):
        draw = torch.rand_like(found.tokens)
        loss = (found.tokens * draw).sum() + (found.pooled * draw[:, 0]).sum()
        loss.backward()
    for encoder in (text, frames):
        assert encoder.embed_dims == WIDTH
        unused = [n for n, p in encoder.named_parameters() if p.grad is None]
        assert not unused
        assert all(p.grad.isfinite().all() for p in encoder.parameters())


@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_facts_come_from_the_files_of_the_model(family, dual_model):
    folder = dual_model(family)
    facts = read_encoder(str(folder))
    assert facts.image_size == (48 if family == 'clipseg' else IMAGE)
    assert facts.text_length == POSITIONS
    assert facts.num_frames == (FRAMES if family in VIDEO_FAMILIES else None)
    model = AutoModel.from_pretrained(folder)
    if family == 'align':
        assert facts.logit_scale == pytest.approx(10)
    elif family != 'videoprism':
        assert facts.logit_scale == pytest.approx(
            model.logit_scale.exp().item()
        )
    assert facts.logit_bias == (-7 if family == 'siglip' else None)
    size = facts.image_size
    image = np.random.default_rng(0).integers(0, 255, (size, size, 3), 'u1')
    if family == 'videoprism':
        expected = image.transpose(2, 0, 1) / 255
    else:
        processor = AutoImageProcessor.from_pretrained(folder)
        expected = processor([image], return_tensors='np')['pixel_values']
        expected = np.asarray(expected).reshape(3, size, size)
    ours = (image - np.array(facts.mean)) / np.array(facts.std)
    np.testing.assert_allclose(ours.transpose(2, 0, 1), expected, atol=1e-4)


@pytest.mark.parametrize('family', DUAL_FAMILIES)
def test_frozen_layers_leave_the_upper_ones_trainable(family, dual_model):
    folder = str(dual_model(family))
    for kind in (DualTextEncoder, DualFrameEncoder):
        model = kind(folder, frozen_layers=1)
        frozen = [p for p in model.parameters() if not p.requires_grad]
        assert 0 < len(frozen) < len(list(model.parameters()))
        with pytest.raises(SetupError, match='frozen_layers=9'):
            kind(folder, frozen_layers=9)


def test_gradient_checkpointing_changes_no_gradient(dual_model):
    folder = str(dual_model('siglip'))
    gradients = []
    for checkpointing in (False, True):
        encoder = DualTextEncoder(
            folder, gradient_checkpointing=checkpointing
        ).train()
        encoder(*tokenize(folder)).tokens[..., 0].sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)
    with pytest.raises(SetupError, match='gradient_checkpointing=False'):
        DualFrameEncoder(str(dual_model('align')), gradient_checkpointing=True)


@torch.no_grad()
def test_clip_by_both_adapters_is_the_same(tiny_clip):
    tokens, mask = tokenize(tiny_clip)
    frames, real = draw_frames('clip'), torch.ones(3, FRAMES).bool()
    for inputs, one, other in (
        ((tokens, mask), CLIPTextEncoder, DualTextEncoder),
        ((frames, real), CLIPFrameEncoder, DualFrameEncoder),
    ):
        ours = other(str(tiny_clip)).eval()(*inputs)
        theirs = one(str(tiny_clip)).eval()(*inputs)
        torch.testing.assert_close(ours.tokens, theirs.tokens)
        torch.testing.assert_close(ours.pooled, theirs.pooled)


def copy_with(folder, target, **changes):
    """A copy with other values in config.json, ``vision_config__x=3``."""
    shutil.copytree(folder, target)
    path = target / 'config.json'
    content = json.loads(path.read_text())
    for place, value in changes.items():
        *parents, key = place.split('__')
        node = content
        for parent in parents:
            node = node[parent]
        node[key] = value
    path.write_text(json.dumps(content))
    return str(target)


def test_what_does_not_fit_is_refused(dual_model, tmp_path):
    clip, siglip = dual_model('clip'), dual_model('siglip')
    changed = copy_with(clip, tmp_path / 'a', vision_config__patch_size=16)
    with pytest.raises(
        SetupError,
        match=r'patch_embedding.*\(16, 3, 8, 8\).*\(16, 3, 16, 16\)',
    ):
        DualFrameEncoder(changed)
    changed = copy_with(siglip, tmp_path / 'b', text_config__projection_size=8)
    with pytest.raises(SetupError, match=r'width 8.*width 16'):
        read_encoder(changed)
    changed = copy_with(
        siglip, tmp_path / 'c', vision_config__vision_use_head=False
    )
    with pytest.raises(SetupError, match='vision_use_head'):
        read_encoder(changed)
    changed = copy_with(siglip, tmp_path / 'd', model_type='siglip2')
    with pytest.raises(SetupError, match='NaFlex'):
        read_encoder(changed)
    changed = copy_with(clip, tmp_path / 'e', model_type='bert')
    with pytest.raises(SetupError, match=r"'bert'.*siglip"):
        DualTextEncoder(changed)
    weights = copy_with(clip, tmp_path / 'f') + '/model.safetensors'
    kept = load_file(weights)
    del kept['text_projection.weight']
    save_file(kept, weights, metadata=dict(format='pt'))
    with pytest.raises(SetupError, match=r'text_projection.weight'):
        DualTextEncoder(str(tmp_path / 'f'))
    changed = copy_with(clip, tmp_path / 'g', vision_config__image_size=64)
    with pytest.raises(SetupError, match=r'\[32, 32\].*\[64, 64\]'):
        read_encoder(changed)
    changed = copy_with(clip, tmp_path / 'h', text_config__vocab_size=9)
    with pytest.raises(SetupError, match=r'tokenizer.* 9;'):
        read_encoder(changed)


def test_inputs_that_do_not_fit_name_the_setting(dual_model):
    clip, xclip = str(dual_model('clip')), str(dual_model('xclip'))
    tokens = torch.zeros(1, POSITIONS + 1).long()
    with pytest.raises(SetupError, match=f'{POSITIONS + 1} word.*max_words'):
        DualTextEncoder(clip)(tokens, tokens == 0)
    with pytest.raises(SetupError, match='max_words'):
        TokenizeText(clip, max_words=POSITIONS + 1)
    with pytest.raises(SetupError, match=r'48x48.*32x32.*crop_size=32'):
        DualFrameEncoder(clip)(draw_frames('clipseg'), torch.ones(3, 4).bool())
    with pytest.raises(SetupError, match=f'num_frames={FRAMES}'):
        DualFrameEncoder(xclip)(
            draw_frames('xclip', 1, 3), torch.ones(1, 3).bool()
        )


def test_different_widths_are_refused(dual_model):
    folder = str(dual_model('siglip'))
    text, frames = DualTextEncoder(folder), DualFrameEncoder(folder)
    with pytest.raises(SetupError, match=r'embed_dims=512.*width 16'):
        TextVideoRetriever(
            text,
            frames,
            dict(type='mmtvr.DMAEHead', embed_dims=512),
            dict(type='mmtvr.InfoNCELoss'),
        )
    frames.embed_dims = 8
    with pytest.raises(SetupError, match=r'width 16.*8'):
        TextVideoRetriever(
            text, frames, CosineHead(), dict(type='mmtvr.InfoNCELoss')
        )


def test_missing_encoder_names_the_command(monkeypatch):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    path = str(ROOT / 'configs/clip4clip_moving_shapes.py')
    with pytest.raises(SetupError, match='hf download nobody/none'):
        load_config(path, {'model.encoder': 'nobody/none'})


@pytest.mark.parametrize('family', DUAL_FAMILIES)
@pytest.mark.parametrize('recipe', ['tpmcl', 'clip4clip'])
def test_one_name_sets_towers_and_pipelines(family, recipe, dual_model):
    folder = str(dual_model(family))
    path = str(ROOT / f'configs/{recipe}_moving_shapes.py')
    cfg = load_config(path, {'model.encoder': folder})
    assert 'encoder' not in cfg.model
    assert cfg.model.text_encoder.type == 'mmtvr.DualTextEncoder'
    facts = read_encoder(folder)
    assert cfg.model.data_preprocessor.mean == facts.mean
    if family != 'videoprism':
        assert cfg.model.logit_scale.init == facts.logit_scale
    for loader in ('train', 'val', 'test'):
        pipeline = cfg[f'{loader}_dataloader'].dataset.pipeline
        steps = {step['type'].rpartition('.')[2]: step for step in pipeline}
        assert steps['TokenizeText'].tokenizer == folder
        assert steps['TokenizeText'].max_words == POSITIONS
        lower = steps['TokenizeText'].get('lowercase', False)
        assert lower == (family == 'siglip')
        assert steps['Resize'].scale == (-1, facts.image_size)
        assert steps['CenterCrop'].crop_size == facts.image_size
        frames = FRAMES if family in VIDEO_FAMILIES else 8
        assert steps['LoadVideoFrames'].num_frames == frames
    if recipe == 'tpmcl':
        assert cfg.model.head.embed_dims == WIDTH
        assert cfg.model.partial_loss.embed_dims == WIDTH
        assert cfg.model.partial_loss.max_words == POSITIONS
    # What a checkpoint or an index keeps reads back.
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.to_dict() == cfg.to_dict()
    model = MODELS.build(cfg.model).eval()
    tokens, mask = tokenize(folder)
    frames = torch.randint(
        0, 255, draw_frames(family).shape, dtype=torch.uint8
    )
    inputs = dict(
        tokens=tokens,
        token_mask=mask,
        frames=frames,
        frame_mask=torch.ones(frames.shape[:2]).bool(),
        video_of_text=torch.arange(3),
        video_ids=torch.arange(3),
    )
    losses = model(inputs, mode='loss')
    assert all(losses[key].isfinite() for key in losses)


def test_resizes_and_starting_weights_follow_the_encoder(dual_model):
    path = str(ROOT / 'configs/dmae_msrvtt.py')
    cfg = load_config(path, {'model.encoder': str(dual_model('siglip'))})
    steps = {
        step['type'].rpartition('.')[2]: step
        for step in cfg.train_dataloader.dataset.pipeline
    }
    assert steps['LoadVideoFrames'].short_side == IMAGE
    assert steps['Resize'].scale == (-1, IMAGE)
    assert steps['CenterCrop'].crop_size == IMAGE
    assert cfg.model.temporal.embed_dims == WIDTH
    assert cfg.model.temporal.clip is None
    assert cfg.model.logit_scale.max == 100
    options = {
        'model.encoder': str(dual_model('siglip')),
        'model.contrastive_loss': dict(
            type='mmtvr.SigmoidLoss', _delete_=True
        ),
        'model.text_encoder.frozen_layers': 1,
    }
    cfg = load_config(path, options)
    assert cfg.model.contrastive_loss.bias == -7
    assert cfg.model.text_encoder.frozen_layers == 1


def test_index_and_search_with_another_encoder(
    dual_model, tiny_videos, tmp_path
):
    cfg = Config.fromfile(ROOT / 'configs/clip4clip_moving_shapes.py')
    cfg.model.encoder = str(dual_model('xclip'))
    # X-CLIP's weights and a head without parameters need no training.
    searcher = TextVideoSearcher(cfg)
    index = tmp_path / 'index'
    report = searcher.index(tiny_videos / 'videos', index, progress=False)
    assert report.encoded > 1
    found = searcher.search('a red circle', top_k=2)
    # The index keeps the config with the name replaced by its settings.
    again = open_searcher(index).search('a red circle', top_k=2)
    assert [each.path for each in found] == [each.path for each in again]


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """Options for an epoch of two steps, and for videos drawn once."""
    folder = tmp_path_factory.mktemp('shapes')
    options = [
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=16',
        'train_dataloader.dataset.num_videos=32',
        'val_dataloader.dataset.num_videos=8',
        'test_dataloader.dataset.num_videos=8',
    ]
    for loader in ('train', 'val', 'test'):
        options += [
            f'{loader}_dataloader.dataset.data_root={folder}',
            f'{loader}_dataloader.num_workers=0',
            f'{loader}_dataloader.persistent_workers=False',
        ]
    return options


@pytest.mark.slow
@pytest.mark.parametrize('family', ['siglip', 'xclip', 'metaclip_2'])
def test_one_option_trains_another_encoder(
    family, dual_model, shapes, fork_tool, tmp_path
):
    config = ROOT / 'configs/tpmcl_moving_shapes.py'
    encoder = f'model.encoder={dual_model(family)}'
    options = (f'--work-dir={tmp_path}', '--cfg-options', encoder, *shapes)
    fork_tool('train.py', config, *options)
    (best,) = tmp_path.glob('best_*R1*.pth')
    if family == 'siglip':
        tested = fork_tool('test.py', config, best, *options)
        assert 'retrieval/R1' in tested.stdout + tested.stderr
