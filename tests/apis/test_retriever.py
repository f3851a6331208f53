"""A retriever that is saved, moved and loaded by somebody else."""

import doctest
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmtvr.apis import Retriever, TextVideoSearcher, open_searcher
from mmtvr.apis import retriever as module
from mmtvr.cli.main import main
from mmtvr.datasets.moving_shapes.generation import ensure_moving_shapes
from mmtvr.errors import SetupError
from mmtvr.registry import MODELS
from mmtvr.search.calibration import (
    Calibration,
    find_calibration,
    write_calibration,
)
from mmtvr.search.encoder import hash_weights
from mmtvr.structures import TokenFeatures

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ROOT / 'configs/clip4clip_moving_shapes.py'
TEXTS = ['a dog runs over the grass', 'a bird', 'a tiny mouse sleeps on a bed']
COMPARE = """
import sys
import numpy as np
from mmtvr.apis import Retriever

*folders, videos = sys.argv[1:]
texts = {texts}
paths = [f'{{videos}}/video{{i}}.mp4' for i in (0, 1, 3)]
for folder in folders:
    retriever = Retriever.from_pretrained(folder, device='cpu')
    np.save(f'{{folder}}.npy', retriever.similarity(texts, paths).numpy())
"""


def run_elsewhere(code, folder, *arguments, **environment):
    """Run Python in a folder, without configs, network or local caches."""
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        'HF_HUB_OFFLINE': '1',
        'HF_HOME': str(folder / 'hf'),
        **environment,
    }
    found = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def similarity(retriever, videos):
    paths = [videos / f'videos/video{i}.mp4' for i in (0, 1, 3)]
    return retriever.similarity(TEXTS, paths).numpy()


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    folder = ensure_moving_shapes(root, 'test', 6, 0)
    return sorted((folder / 'videos').glob('*.mp4'))


@pytest.fixture(scope='module')
def shapes_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('model') / 'shapes'
    Retriever.from_config(SHAPES, device='cpu').save_pretrained(folder)
    return folder


def dual_config(tiny_config, model, family):
    """The tiny config over another family, with a temporal transformer."""
    from mmtvr.config import expand_encoder

    config = Config.fromfile(tiny_config)
    config.model.encoder = str(model)
    config.model.partial_loss = None
    config.model.temporal = dict(
        type='mmtvr.FrameTransformer',
        embed_dims=16,
        num_layers=1,
        clip='openai/clip-vit-base-patch32',
    )
    expand_encoder(config)
    return config


def test_what_scores_mean_goes_with_the_weights(shapes_folder, tmp_path):
    curve = Calibration(9.0, -2.0, 20, 6, 0.1, 'of other weights')
    first, second, third = (tmp_path / name for name in 'abc')
    shutil.copytree(shapes_folder, first)
    weights = first / 'model.safetensors'
    write_calibration(curve, weights)
    Retriever.from_pretrained(first, device='cpu').save_pretrained(second)
    assert not (second / 'calibration.json').exists()
    curve = replace(curve, checkpoint=hash_weights(weights))
    write_calibration(curve, weights)
    Retriever.from_pretrained(first, device='cpu').save_pretrained(third)
    weights = third / 'model.safetensors'
    info = dict(checkpoint=hash_weights(weights))
    assert find_calibration(info, weights).slope == curve.slope


@pytest.mark.slow
def test_a_fresh_process_finds_identical_similarities(
    tiny_config, tiny_videos, checkpoint, dual_model, tmp_path
):
    """Elsewhere, offline, without the configs or the towers' own folders."""
    away = tmp_path / 'away'
    away.mkdir()
    made = {'clip': Retriever.from_config(tiny_config, checkpoint)}
    for family in ('siglip', 'xclip', 'clip'):
        copy = tmp_path / f'tower-{family}'
        shutil.copytree(dual_model(family), copy)
        config = dual_config(tiny_config, copy, family)
        torch.manual_seed(1)
        weights = tmp_path / f'{family}.pth'
        model = MODELS.build(config.model)
        torch.save(dict(state_dict=model.state_dict()), weights)
        name = f'dual-{family}'
        made[name] = Retriever.from_config(config, weights)
    expected = {}
    for name, retriever in made.items():
        retriever.save_pretrained(tmp_path / name)
        expected[name] = similarity(retriever, tiny_videos)
        assert np.ptp(expected[name]) > 1e-3
        shutil.move(tmp_path / name, away / name)
    for family in ('siglip', 'xclip', 'clip'):
        shutil.rmtree(tmp_path / f'tower-{family}')

    folders = [away / name for name in made]
    code = COMPARE.format(texts=TEXTS)
    run_elsewhere(code, away, *folders, tiny_videos / 'videos')

    for name, wanted in expected.items():
        assert np.array_equal(np.load(f'{away / name}.npy'), wanted), name


def test_examples_of_the_docstring_run(shapes, tmp_path):
    names = dict(
        config=SHAPES, checkpoint=None, folder=tmp_path / 'm', paths=shapes
    )
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert failed == 0
    assert tried >= 6


def test_batches_and_pooled_vectors_agree(shapes_folder, shapes):
    retriever = Retriever.from_pretrained(shapes_folder, device='cpu')
    texts = ['a red circle', 'a star', 'two circles rising slowly']
    whole = retriever.encode_text(texts)
    assert isinstance(whole, TokenFeatures)
    assert whole.tokens.shape[:2] == whole.mask.shape
    pooled = retriever.encode_text(texts, pooled=True, batch_size=1)
    torch.testing.assert_close(pooled, whole.pooled)
    video = retriever.encode_video(shapes)
    pooled = retriever.encode_video(shapes, pooled=True, batch_size=4)
    torch.testing.assert_close(pooled, video.pooled)
    # The head of this model compares pooled vectors.
    sim = retriever.similarity(whole, video)
    torch.testing.assert_close(sim, whole.pooled @ video.pooled.T)


def test_large_tables_are_compared_in_blocks(
    shapes_folder, shapes, monkeypatch
):
    retriever = Retriever.from_pretrained(shapes_folder, device='cpu')
    texts = ['a red circle', 'a star', 'a blue square']
    whole = retriever.similarity(texts, shapes)
    monkeypatch.setattr(module, 'BLOCK', 2)
    found = retriever.similarity(texts, shapes)
    torch.testing.assert_close(found, whole)


def test_half_precision_is_close_and_stays_float32_outside(
    shapes_folder, shapes
):
    full = Retriever.from_pretrained(shapes_folder, device='cpu')
    half = Retriever.from_pretrained(
        shapes_folder, device='cpu', dtype='bfloat16'
    )
    found = half.encode_text(['a red circle'])
    assert found.tokens.dtype == torch.float32
    texts = ['a red circle', 'a star']
    sim = half.similarity(texts, shapes)
    wanted = full.similarity(texts, shapes)
    assert not torch.equal(sim, wanted)
    torch.testing.assert_close(sim, wanted, atol=0.03, rtol=0)
    with pytest.raises(SetupError, match='int8'):
        Retriever.from_pretrained(shapes_folder, dtype='int8')


def test_progress_is_shown_on_demand(shapes_folder, shapes, capfd):
    retriever = Retriever.from_pretrained(shapes_folder, device='cpu')
    retriever.encode_video(shapes[:2], pooled=True)
    assert capfd.readouterr().err == ''
    retriever.encode_video(shapes[:2], pooled=True, progress=True)
    assert '2/2' in capfd.readouterr().err


def test_what_cannot_be_encoded_is_named(shapes_folder, shapes, tmp_path):
    retriever = Retriever.from_pretrained(shapes_folder, device='cpu')
    broken = tmp_path / 'broken.mp4'
    broken.write_bytes(b'no video')
    with pytest.raises(SetupError, match=r'broken.mp4 cannot be read'):
        retriever.encode_video([shapes[0], broken])
    with pytest.raises(SetupError, match='empty'):
        retriever.encode_text(['a star', ' '])
    with pytest.raises(SetupError, match='texts'):
        retriever.encode_text([])


def test_an_index_of_a_folder_is_searched_after_the_folder_moved(
    shapes_folder, shapes, tmp_path
):
    folder, moved = tmp_path / 'model', tmp_path / 'moved'
    shutil.copytree(shapes_folder, folder)
    index = tmp_path / 'index'
    videos = str(shapes[0].parent)
    assert main(['index', str(folder), videos, '--into', str(index)]) == 0
    text = 'a red circle rising'
    expected = TextVideoSearcher(folder).open(index).search(text)
    folder.rename(moved)
    with pytest.raises(SetupError, match='--checkpoint'):
        open_searcher(index)
    assert open_searcher(index, moved).search(text) == expected
    # The same model at another place is no other model.
    assert TextVideoSearcher(moved).open(index).search(text) == expected


def test_the_card_states_what_is_known(shapes_folder, tmp_path):
    from huggingface_hub import ModelCard

    text = (shapes_folder / 'README.md').read_text()
    assert text.count('Not stated.') == 4
    report = tmp_path / 'report.json'
    measures = dict(t2v=dict(measures={'R1': 44.123}), v2t=dict(measures={}))
    report.write_text(json.dumps(dict(rows=[measures])))
    arguments = ['--into', str(tmp_path / 'm'), '--license', 'apache-2.0']
    arguments += ['--protocol', 'MSR-VTT 1k-A', '--data', '9,000 videos']
    arguments += ['--results', str(report)]
    assert main(['export', str(shapes_folder), *arguments]) == 0
    card = ModelCard.load(tmp_path / 'm/README.md')
    assert card.data.license == 'apache-2.0'
    assert card.data.library_name == 'mmtvr'
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ('t2v R@1', 44.12)
    assert result.dataset_name == 'MSR-VTT 1k-A'
    assert '9,000 videos' in card.text
    assert 'LoadVideoFrames(num_frames=8' in card.text
    assert str(tmp_path) not in card.text


def test_a_folder_that_is_not_empty_is_not_written_over(
    shapes_folder, tmp_path, capsys
):
    (tmp_path / 'mine').write_text('')
    arguments = [str(shapes_folder), '--into', str(tmp_path)]
    assert main(['export', *arguments]) == 1
    assert 'is not empty' in capsys.readouterr().err


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def hostile(kind, folder, marker):
    """Change a folder so that careless loading would make a file."""
    path = folder / 'config.json'
    settings = json.loads(path.read_text())
    model, encoder = settings['model'], settings['model']['text_encoder']
    tower = folder / 'pretrained/moving-shapes-clip'
    match kind:
        case 'a function':
            model['head'] = dict(type='os.system', command=f'touch {marker}')
        case 'a loader of mmengine':
            pickled = folder / 'head.pkl'
            pickled.write_bytes(pickle.dumps(Evil(marker)))
            model['head'] = dict(type='mmengine.load', file=str(pickled))
        case 'a module':
            model['head'] = dict(type='antigravity')
        case 'a scope':
            model['head']['_scope_'] = 'os'
        case 'an unknown part':
            settings['pipeline'].append(dict(type='mmtvr.Nothing'))
        case 'weights that are a pickle':
            weights = folder / 'model.safetensors'
            weights.write_bytes(pickle.dumps(Evil(marker)))
        case 'a tower outside':
            encoder['clip'] = 'folder://../../elsewhere'
        case 'a tower that is a pickle':
            (tower / 'weights_elsewhere.txt').unlink()
            pickled = pickle.dumps(Evil(marker))
            (tower / 'pytorch_model.bin').write_bytes(pickled)
        case 'code of a tower':
            about = json.loads((tower / 'config.json').read_text())
            about['model_type'] = 'mine'
            about['auto_map'] = dict(AutoConfig='mine.Mine')
            (tower / 'config.json').write_text(json.dumps(about))
            (tower / 'mine.py').write_text(f'open({str(marker)!r}, "w")')
            encoder.clear()
            encoder |= dict(
                type='mmtvr.DualTextEncoder',
                encoder='folder://moving-shapes-clip',
            )
        case 'Python':
            path.write_text(f'open({str(marker)!r}, "w")')
            return
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    'kind',
    [
        *('a function', 'a loader of mmengine', 'a module', 'a scope'),
        *('an unknown part', 'weights that are a pickle', 'a tower outside'),
        *('a tower that is a pickle', 'code of a tower', 'Python'),
    ],
)
def test_a_hostile_folder_runs_nothing(shapes_folder, tmp_path, kind):
    folder, marker = tmp_path / 'model', tmp_path / 'marker'
    shutil.copytree(shapes_folder, folder)
    hostile(kind, folder, marker)
    with pytest.raises(SetupError):
        Retriever.from_pretrained(folder, device='cpu')
    assert not marker.exists()


def test_a_folder_writes_no_cache_where_it_says(shapes_folder, tmp_path):
    folder = tmp_path / 'model'
    shutil.copytree(shapes_folder, folder)
    path = folder / 'config.json'
    settings = json.loads(path.read_text())
    settings['pipeline'][0]['cache'] = dict(folder=str(tmp_path / 'cache'))
    path.write_text(json.dumps(settings))
    retriever = Retriever.from_pretrained(folder, device='cpu')
    assert retriever.encoder.pipelines.video.transforms[0].cache is None


@pytest.mark.parametrize('missing', ['config.json', 'model.safetensors'])
def test_what_is_no_folder_of_a_retriever_says_so(
    shapes_folder, tmp_path, missing
):
    folder = tmp_path / 'model'
    shutil.copytree(shapes_folder, folder)
    (folder / missing).unlink()
    with pytest.raises(SetupError, match='mmtvr export'):
        Retriever.from_pretrained(folder)
    with pytest.raises(
        SetupError, match=r'There is no folder|are not on this'
    ):
        Retriever.from_pretrained('nobody/nothing', local_files_only=True)


PUSH = """
import sys
from mmtvr.apis import Retriever

retriever = Retriever.from_pretrained(sys.argv[1], device='cpu')
retriever.push_to_hub('me/shapes', model_card_kwargs=dict(license='mit'))
same = Retriever.from_pretrained('me/shapes', device='cpu')
texts = ['a red circle', 'a star']
a, b = (each.encode_text(texts, pooled=True) for each in (retriever, same))
print(bool((a == b).all()))
"""


@pytest.mark.slow
def test_a_hub_takes_and_gives_it(shapes_folder, hub, tmp_path):
    """The hub is a stand-in on this machine."""
    printed = run_elsewhere(
        PUSH,
        tmp_path,
        shapes_folder,
        HF_ENDPOINT=hub.url,
        HF_HUB_OFFLINE='0',
        HF_TOKEN='hf_stand_in',
        HF_HUB_DISABLE_XET='1',
        NO_PROXY='127.0.0.1',
    )
    assert printed.split()[-1] == 'True'
    files = hub.repositories['me/shapes']
    assert {'README.md', 'config.json', 'model.safetensors'} <= set(files)
    assert b'license: mit' in files['README.md']


@MODELS.register_module()
class FetchingEncoder(nn.Module):
    """Stands for one that fetches its weights in a way of its own."""

    def __init__(self, name, fetch=True):
        super().__init__()
        if fetch:
            raise SetupError(f'{name} is not here')

    @staticmethod
    def without_weights(config):
        return dict(config, fetch=False)


def test_an_encoder_can_say_how_it_is_built_without_weights():
    from mmtvr.search.model_folder import _without_weights

    kind = dict(type='FetchingEncoder', name='tower')
    found = _without_weights(dict(type='mmtvr.CosineHead', part=kind))
    assert found['part'] == dict(kind, fetch=False)
