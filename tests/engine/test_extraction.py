"""Stored features of frozen towers stand for videos and captions."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from benchmarks.real_pictures.stored import make_inputs, read_folds
from mmtvr.cli import extract as command
from mmtvr.config import load_config
from mmtvr.config.preflight import build_runner
from mmtvr.datasets.annotations import read_annotations
from mmtvr.datasets.frozen_features import FeatureFile, refuse_difference
from mmtvr.datasets.samplers import SeededIndex
from mmtvr.engine import extraction
from mmtvr.engine.hooks.frozen_features import FrozenFeaturesHook
from mmtvr.errors import SetupError
from mmtvr.models.frozen import extract, hash_tower, project
from mmtvr.registry import DATASETS, MODELS

# Half precision has 11 bits; similarities are sums of products of two.
CLOSE = dict(atol=2e-3, rtol=0)
KEY_WORDS = dict(type='mmtvr.TagKeyWords', cache=False)


@pytest.fixture(scope='module')
def config(tiny_config, tmp_path_factory):
    """The tiny config with key words, as DMAE and TPM-CL read them."""
    cfg = Config.fromfile(tiny_config)
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(1, KEY_WORDS)
    path = tmp_path_factory.mktemp('frozen') / 'key_words.py'
    cfg.dump(path)
    return path


@pytest.fixture(scope='module')
def features(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('features')
    command.extract(command.parse_args([str(config), str(folder)]))
    return folder


def small_parts(monkeypatch):
    monkeypatch.setattr(extraction, 'PART_VIDEOS', 2)
    monkeypatch.setattr(extraction, 'PART_CAPTIONS', 4)
    monkeypatch.setattr(extraction, 'BATCH_VIDEOS', 2)


def prepare(config, path, views=1):
    init_default_scope('mmtvr')
    cfg = load_config(str(config))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    loader = cfg.train_dataloader
    return extraction.Extraction(model, cfg.model, loader, path, views)


def run_test(config, work_dir, **options):
    cfg = load_config(str(config), options, str(work_dir))
    torch.manual_seed(0)
    runner = build_runner(cfg)
    metrics = runner.test()
    return runner, metrics


@pytest.mark.slow
def test_test_from_features_equals_that_from_videos(
    config, features, tmp_path
):
    dumps = [tmp_path / 'videos.npz', tmp_path / 'features.npz']
    metrics = []
    for dump, folder in zip(dumps, (None, str(features)), strict=True):
        evaluator = [
            dict(type='mmtvr.TextVideoRecall'),
            dict(type='mmtvr.SimilarityDump', out_file=str(dump)),
        ]
        options = dict(
            test_evaluator=evaluator, load_from=weights(config, tmp_path)
        )
        if folder:
            options['frozen_features'] = folder
        metrics.append(run_test(config, tmp_path, **options)[1])
    first, second = (np.load(dump) for dump in dumps)
    assert metrics[0] == metrics[1]
    np.testing.assert_allclose(first['scores'], second['scores'], **CLOSE)
    assert np.ptp(first['scores']) > 20 * CLOSE['atol']
    for name in ('texts', 'videos', 'video_ids', 'text_video_ids'):
        assert first[name].tolist() == second[name].tolist()


def weights(config, folder):
    path = folder / 'weights.pth'
    if not path.exists():
        torch.manual_seed(1)
        init_default_scope('mmtvr')
        model = MODELS.build(load_config(str(config)).model)
        torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def test_loss_and_gradients_equal_those_from_videos(config, features):
    """With key words, whose weights DMAE and TPM-CL read."""
    init_default_scope('mmtvr')
    results = []
    for options in ({}, dict(frozen_features=str(features))):
        cfg = load_config(str(config), options)
        torch.manual_seed(0)
        cfg.model.frozen_encoders = True
        model = MODELS.build(cfg.model).train()
        data = cfg.train_dataloader.dataset
        (data.dataset if options else data).pipeline[0].test_mode = True
        dataset = DATASETS.build(data)
        batch = model.data_preprocessor(
            pseudo_collate([dataset[i] for i in (0, 4, 8)]), True
        )
        assert batch['inputs']['token_weight'].max() == 2
        torch.manual_seed(0)
        losses = model(**batch, mode='loss')
        model.parse_losses(losses)[0].backward()
        results.append((model, losses))
    (one, first), (other, second) = results
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=1e-2, rtol=1e-2)
    learned = {n for n, p in one.named_parameters() if p.grad is not None}
    assert learned == {
        n for n, p in other.named_parameters() if p.grad is not None
    }
    towers = {
        name.rpartition('_projection')[0] + '_projection'
        for name in learned
        if 'encoder' in name
    }
    assert towers == {
        'text_encoder.clip.text_projection',
        'frame_encoder.clip.visual_projection',
    }


@pytest.mark.slow
def test_training_changes_all_but_the_towers(config, features, tmp_path):
    options = dict(frozen_features=str(features))
    options['train_cfg.max_epochs'] = 1
    cfg = load_config(str(config), options, str(tmp_path))
    runner = build_runner(cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    hashes = [hash_tower(runner.model.text_encoder)]
    runner.train()
    hashes.append(hash_tower(runner.model.text_encoder))
    after = runner.model.state_dict()
    changed = {k for k in after if not torch.equal(before[k], after[k])}
    assert hashes[0] == hashes[1]
    assert 'text_encoder.clip.text_projection.weight' in changed
    assert 'frame_encoder.clip.visual_projection.weight' in changed
    assert not any('_model.' in name for name in changed)
    # The checkpoint is of the whole model, so it tests videos as well.
    whole = MODELS.build(load_config(str(config)).model)
    assert whole.state_dict().keys() == after.keys()


@pytest.mark.slow
def test_processes_give_the_file_of_one(config, tmp_path, monkeypatch):
    small_parts(monkeypatch)
    one, two = tmp_path / 'one.safetensors', tmp_path / 'two.safetensors'
    assert prepare(config, one).run()
    assert not prepare(config, two).run(1, 2)
    assert not two.exists()
    assert prepare(config, two).run(0, 2)
    assert one.read_bytes() == two.read_bytes()
    assert not list(tmp_path.glob('*.parts'))
    # Nothing is left to do.
    monkeypatch.setattr(extraction, 'extract', None)
    assert prepare(config, two).run()


@pytest.mark.slow
def test_killed_run_goes_on(config, tmp_path, monkeypatch):
    small_parts(monkeypatch)
    whole, path = tmp_path / 'whole.safetensors', tmp_path / 'cut.safetensors'
    prepare(config, whole).run()
    save, saved = extraction._save, []

    def save_two_then_die(file, tensors, metadata=None):
        if len(saved) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(file, tensors, metadata)
        saved.append(file.name)

    work = prepare(config, path)
    monkeypatch.setattr(extraction, '_save', save_two_then_die)
    child = multiprocessing.get_context('fork').Process(target=work.run)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    done = sorted(p.name for p in work.folder.glob('*.safetensors'))
    assert done == ['video-000000.safetensors', 'video-000001.safetensors']

    def save_and_note(file, tensors, metadata=None):
        saved.append(file.name)
        save(file, tensors, metadata)

    monkeypatch.setattr(extraction, '_save', save_and_note)
    assert work.run()
    assert not set(done) & set(saved)
    assert path.read_bytes() == whole.read_bytes()


def test_views_are_drawn_and_the_first_is_the_middle(
    config, features, tmp_path
):
    path = tmp_path / 'train.safetensors'
    prepare(config, path, views=3).run()
    drawn, middle = FeatureFile(path), FeatureFile(features / path.name)
    # Nothing draws words in this pipeline.
    assert drawn.views == dict(video=3, text=1)
    first = drawn.get('video', [3 * i for i in range(5)])
    expected = middle.get('video', range(5))
    torch.testing.assert_close(
        first['tokens'], expected['tokens'], atol=2e-3, rtol=2e-3
    )
    second = drawn.get('video', [3 * i + 1 for i in range(5)])
    assert not torch.allclose(first['tokens'], second['tokens'], atol=1e-2)

    cfg = load_config(str(config), dict(frozen_features=str(tmp_path)))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    seen = {
        dataset[SeededIndex(0, seed << 32)]['inputs']['frame_tokens']
        .numpy()
        .tobytes()
        for seed in range(20)
    }
    assert len(seen) == 3


def test_dropped_words_are_drawn_where_the_pipeline_drops_them(
    config, tmp_path
):
    cfg = Config.fromfile(config)
    drop = dict(type='mmtvr.DropUnimportantWords')
    cfg.train_dataloader.dataset.pipeline.insert(2, drop)
    other = tmp_path / 'drop.py'
    cfg.dump(other)
    path = tmp_path / 'train.safetensors'
    prepare(other, path, views=4).run()
    file = FeatureFile(path)
    assert file.views == dict(video=4, text=4)
    lengths = file.get('text', range(4 * 15))['mask'].sum(1).view(15, 4)
    assert (lengths[:, 0] == lengths.max(1).values).all()
    assert (lengths.min(1).values < lengths[:, 0]).any()


def use_other_frames(cfg, tmp_path):
    cfg.test_dataloader.dataset.pipeline[0].num_frames = 2
    return 'video_pipeline[0].num_frames = 3, but the config now has 2'


def use_another_size(cfg, tmp_path):
    cfg.test_dataloader.dataset.pipeline[2].scale = (-1, 40)
    return r'video_pipeline[1].scale[1] = 32, but the config now has 40'


def use_longer_words(cfg, tmp_path):
    for step in cfg.test_dataloader.dataset.pipeline:
        if step.type == 'mmtvr.TokenizeText':
            step.max_words = 20
    return 'text_pipeline[1].max_words = 16, but the config now has 20'


def use_other_captions(cfg, tmp_path):
    data = cfg.test_dataloader.dataset
    root = tmp_path / 'data'
    shutil.copytree(data.data_root, root)
    file = root / data.ann_file
    content = json.loads(file.read_text())
    content['video1.mp4'][0] += ' once more'
    file.write_text(json.dumps(content))
    data.data_root = str(root)
    return 'annotations.content = '


def change_a_video(cfg, tmp_path):
    data = cfg.test_dataloader.dataset
    root = tmp_path / 'data'
    shutil.copytree(data.data_root, root)
    video = root / 'videos' / 'video2.mp4'
    content = bytearray(video.read_bytes())
    content[-1] ^= 1
    video.write_bytes(content)
    data.data_root = str(root)
    return 'video2.mp4 has changed'


@pytest.mark.parametrize(
    'change',
    [
        use_other_frames,
        use_another_size,
        use_longer_words,
        use_other_captions,
        change_a_video,
    ],
)
def test_other_inputs_are_refused(change, config, features, tmp_path):
    init_default_scope('mmtvr')
    cfg = Config.fromfile(config)
    expected = change(cfg, tmp_path)
    other = tmp_path / 'other.py'
    cfg.dump(other)
    cfg = load_config(str(other), dict(frozen_features=str(features)))
    dataset = DATASETS.build(
        dict(
            type='mmtvr.FrozenFeatureDataset',
            dataset=cfg.test_dataloader.dataset.dataset,
            file=str(features / 'test.safetensors'),
        )
    )
    with pytest.raises(SetupError) as raised:
        dataset.full_init()
    assert expected in str(raised.value)


def test_copied_videos_are_the_same(config, features, tmp_path):
    """Another time of modification alone is no change."""
    cfg = load_config(str(config), dict(frozen_features=str(features)))
    data = cfg.train_dataloader.dataset
    shutil.copytree(
        data.dataset.data_root,
        tmp_path / 'data',
        copy_function=shutil.copyfile,
    )
    data.dataset.data_root = str(tmp_path / 'data')
    assert len(DATASETS.build(data)) == 15


def test_another_encoder_is_refused(config, features, tmp_path):
    options = dict(frozen_features=str(features))
    runner = build_runner(load_config(str(config), options, str(tmp_path)))
    hook = next(
        hook for hook in runner._hooks if isinstance(hook, FrozenFeaturesHook)
    )
    tower = runner.model.frame_encoder.clip.vision_model
    with torch.no_grad():
        tower.post_layernorm.bias[0] += 1e-3
    with pytest.raises(SetupError) as raised:
        hook.before_test(runner)
    # Both are named.
    message = str(raised.value)
    assert 'frame_encoder.weights' in message
    assert message.count('CLIPFrameEncoder') == 2
    assert len(set(message.split('weights ')[1:3])) == 2
    # A projection may be another one: it is trained.
    with torch.no_grad():
        tower.post_layernorm.bias[0] -= 1e-3
        runner.model.frame_encoder.clip.visual_projection.weight.zero_()


def test_tuples_of_a_config_are_the_lists_of_the_file(tmp_path):
    stored, now = (
        dict(
            frame_encoder=dict(
                options=dict(regions=regions), source={}, weights='a' * 12
            )
        )
        for regions in ([2, 3], (2, 3))
    )
    refuse_difference(tmp_path, stored, now)
    now['frame_encoder']['options']['regions'] = (3, 2)
    with pytest.raises(SetupError, match=r'regions\[0\] = '):
        refuse_difference(tmp_path, stored, now)


def test_extraction_into_a_file_of_another_config_is_refused(config, features):
    with pytest.raises(SetupError, match=r'max_words = 16, .* has 12'):
        command.extract(
            command.parse_args(
                [
                    *(str(config), str(features), '--split', 'train'),
                    '--cfg-options',
                    'train_dataloader.dataset.pipeline.5.max_words=12',
                ]
            )
        )


def test_unreadable_videos(config, tmp_path):
    """In training they are left out, in a test they are refused."""
    cfg = Config.fromfile(config)
    root = tmp_path / 'data'
    shutil.copytree(cfg.train_dataloader.dataset.data_root, root)
    (root / 'videos' / 'video1.mp4').write_bytes(b'no video')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.data_root = str(root)
    path = tmp_path / 'broken.py'
    cfg.dump(path)
    out = str(tmp_path / 'out')
    command.extract(command.parse_args([str(path), out, '--split', 'train']))
    read = load_config(str(path), dict(frozen_features=out))
    dataset = DATASETS.build(read.train_dataloader.dataset)
    assert len(dataset) == 12
    assert {int(dataset[i]['data_samples'].video_id) for i in range(12)} == {
        *(0, 2, 3, 4)
    }
    with pytest.raises(SetupError, match=r'unreadable video .*video1\.mp4'):
        command.extract(
            command.parse_args([str(path), out, '--split', 'test'])
        )


@pytest.mark.parametrize('shape', [(2, 6), (2, 3, 6)])
def test_halves_of_the_text_encoder_are_the_whole(tiny_clip, shape):
    encoder = MODELS.build(
        dict(type='mmtvr.CLIPTextEncoder', clip=str(tiny_clip))
    )
    tokens = torch.randint(0, 500, shape)
    mask = torch.arange(6).expand(shape) < 4
    if len(shape) == 3:
        mask = mask.clone()
        mask[0, 1:] = False
    whole = encoder(tokens, mask)
    halves = project(encoder, extract(encoder, tokens, mask))
    for one, other in zip(whole[:3], halves[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_features_and_lora_exclude_each_other(config, features):
    options = dict(frozen_features=str(features))
    options['model.lora.text_encoder.r'] = 2
    with pytest.raises(SetupError, match='lora'):
        load_config(str(config), options)


def test_comparison_of_variants_reads_the_same_features(config, features):
    cfg = load_config(str(config), dict(frozen_features=str(features)))
    node = cfg.test_dataloader.dataset
    dataset = DATASETS.build(node)
    file = features / 'test.safetensors'
    annotation = Path(node.dataset.data_root, node.dataset.ann_file)
    records = read_annotations(annotation)
    inputs = make_inputs(records, *read_folds((annotation,), (file,)))
    read = FeatureFile(file).get('video', range(len(records)))
    assert torch.equal(inputs['frame_tokens'], read['tokens'].float())
    model = MODELS.build(cfg.model).eval()
    text = model.extract_text(inputs)
    video = model.extract_video(inputs)
    sim = model.similarity(text, video)
    assert sim.shape == (len(records),) * 2
    batch = model.data_preprocessor(pseudo_collate([dataset[0]]), False)
    first, own = model(**batch, mode='tensor')
    torch.testing.assert_close(own.tokens, video.tokens[:1])
    torch.testing.assert_close(
        first.pooled[0], text.pooled[0], check_dtype=False
    )
