"""Every component is found by its prefix, from whatever scope."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import mmaction
import pytest
from mmengine.registry import Registry

import mmtvr.registry

ROOT = Path(__file__).resolve().parents[1]
NODES = {
    name: node
    for name, node in vars(mmtvr.registry).items()
    if isinstance(node, Registry) and node.scope == mmtvr.registry.SCOPE
}
LOCATIONS = [
    (name, location)
    for name, node in NODES.items()
    for location in node._locations
]
MMACTION_HAS_MODELS = mmaction.__version__.startswith('1.1.')
PUBLIC = {
    'TextVideoDataset',
    'MovingShapesDataset',
    'LoadVideoFrames',
    'TokenizeText',
    'TagKeyWords',
    'DropUnimportantWords',
    'PackTextVideo',
    'TextVideoRetriever',
    'TextVideoPreprocessor',
    'CLIPTextEncoder',
    'CLIPFrameEncoder',
    'BackboneFrameEncoder',
    'DualTextEncoder',
    'DualFrameEncoder',
    'FrameTransformer',
    'CosineHead',
    'TokenWiseHead',
    'DMAEHead',
    'InfoNCELoss',
    'NegNCELoss',
    'TPMCLLoss',
    'TextVideoRecall',
    'RetrievalValLoop',
    'RetrievalTestLoop',
    'ResumableTrainLoop',
    'AtomicCheckpointHook',
    'DecordReader',
}


def python(*arguments):
    """Run a fresh interpreter in the project; returns all it printed."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(('name', 'location'), LOCATIONS)
def test_locations_import_and_export_what_they_register(name, location):
    module = importlib.import_module(location)
    registered = {
        kind.__name__
        for kind in NODES[name].module_dict.values()
        # Readers are registered outside their package, which is light.
        if f'{kind.__module__}.'.startswith((f'{location}.', 'mmtvr.video.'))
    }
    assert registered
    assert registered <= set(dir(module))
    if hasattr(module, '__path__'):
        assert registered <= set(module.__all__)


@pytest.mark.parametrize(
    'package', ['mmtvr.apis', 'mmtvr.datasets', 'mmtvr.models']
)
def test_packages_export_names_that_are_there(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name
    with pytest.raises(AttributeError, match='no_such_name'):
        module.no_such_name  # noqa: B018


@pytest.mark.slow
def test_a_look_up_imports_no_more_than_it_takes():
    python(
        '-c',
        'import sys; from mmtvr.registry import MODELS, TRANSFORMS\n'
        'MODELS.get("mmtvr.TextVideoRetriever"), MODELS.get("CosineHead")\n'
        'TRANSFORMS.get("mmtvr.TokenizeText")\n'
        'others = {"mmtvr.losses", "mmtvr.models.partial_order",\n'
        '          "mmtvr.video", "mmtvr.datasets.text_video"}\n'
        'assert not others & set(sys.modules), others & set(sys.modules)\n'
        'assert MODELS.get("mmtvr.NegNCELoss").__name__ == "NegNCELoss"',
    )


@pytest.fixture(scope='module')
def probe(tiny_clip, tmp_path_factory):
    """Scope to the names built under it, and all that was printed."""
    scopes = ['mmtvr', 'mmaction', 'mmengine', 'none']
    if not MMACTION_HAS_MODELS:
        scopes.remove('mmaction')
    folder = tmp_path_factory.mktemp('probe')
    printed = python(
        ROOT / 'tests/registry_probe.py', tiny_clip, folder, *scopes
    )
    lists = [
        json.loads(line)
        for line in printed.splitlines()
        if line.startswith('["')
    ]
    return {scope: built for scope, *built in lists}, printed


@pytest.mark.slow
@pytest.mark.parametrize('scope', ['mmtvr', 'mmaction', 'mmengine', 'none'])
def test_every_component_builds_from_a_bare_dict(scope, probe):
    if scope == 'mmaction' and not MMACTION_HAS_MODELS:
        pytest.skip(
            'every look-up of a model under default_scope="mmaction" imports '
            'mmaction.models, which the wheel of mmaction2 1.2.0 cannot'
        )
    built, printed = probe
    assert 'Failed to search registry' not in printed
    assert set(built[scope]) >= PUBLIC
    assert len(built[scope]) == len(set(built[scope]))


def test_importing_the_package_is_light():
    python(
        '-c',
        'import sys, mmtvr\n'
        'heavy = {"torch", "mmaction", "mmengine", "numpy", "transformers"}\n'
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)',
    )
