"""Build every component from a bare dict under each default scope.

``test_registry.py`` runs it with the folder of a CLIP, a folder to write to
and scopes (or ``none``). Each scope has a process of its own in which nothing
of mmtvr but the registries is imported; other packages, which take seconds,
are imported once before these processes fork. Our parts must
leave the models of mmaction2 alone until one is looked up. It prints a JSON
list per scope: the scope, then the names it built.
"""

import json
import os
import sys
from types import SimpleNamespace

import mmaction.datasets  # noqa: F401
import transformers.models.clip.modeling_clip  # noqa: F401
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn
from torch.utils.data import DataLoader

import mmtvr.registry
from mmtvr.registry import VIDEO_READERS


@MODELS.register_module()
class ProbeBackbone(nn.Module):
    """Stands for a backbone of another package."""


def arguments(clip: str, folder: str) -> dict[str, dict]:
    """The few arguments without a default, by component."""
    clip_text = dict(type='mmtvr.CLIPTextEncoder', clip=clip)
    clip_frames = dict(type='mmtvr.CLIPFrameEncoder', clip=clip)
    retriever = dict(
        text_encoder=clip_text,
        frame_encoder=clip_frames,
        head=dict(type='mmtvr.CosineHead'),
        contrastive_loss=dict(type='mmtvr.InfoNCELoss'),
    )
    loop = dict(
        runner=SimpleNamespace(),
        dataloader=DataLoader([]),
        evaluator=Evaluator([]),
    )
    return {
        'BackboneFrameEncoder': dict(
            backbone=dict(type='ProbeBackbone'), in_channels=8
        ),
        'CLIPFrameEncoder': dict(clip=clip),
        'CLIPTextEncoder': dict(clip=clip),
        'DistilledRetriever': dict(
            teacher={}, teacher_checkpoint='', **retriever
        ),
        'DualFrameEncoder': dict(encoder=clip),
        'DualTextEncoder': dict(encoder=clip),
        'FrozenFeatureDataset': dict(dataset=dict(), file='train.safetensors'),
        'FrameTransformer': dict(clip=clip, embed_dims=32, num_layers=1),
        'MovingShapesDataset': dict(
            data_root=folder, num_videos=4, lazy_init=True
        ),
        'ResumableBatchSampler': dict(sampler=range(3), batch_size=2),
        'ResumableTrainLoop': dict(
            runner=SimpleNamespace(seed=0),
            dataloader=DataLoader([]),
            max_epochs=1,
        ),
        'RetrievalTestLoop': loop,
        'RetrievalValLoop': loop,
        'SeededDataset': dict(
            dataset=dict(type='mmtvr.TextVideoDataset', lazy_init=True)
        ),
        'SimilarityDump': dict(out_file=f'{folder}/scores.npz'),
        'TextVideoDataset': dict(lazy_init=True),
        'TextVideoRetriever': retriever,
        'TokenizeText': dict(tokenizer=clip),
        'TwoRateConstructor': dict(optim_wrapper_cfg=dict()),
    }


def build_all(scope: str, clip: str, folder: str) -> list[str]:
    """Build all, as ``Runner`` does: from the root registry, by prefix."""
    if scope != 'none':
        DefaultScope.get_instance('probe', scope_name=scope)
    nodes = [
        node
        for node in vars(mmtvr.registry).values()
        if isinstance(node, Registry) and node.scope == 'mmtvr'
    ]
    known = arguments(clip, folder)
    built = []
    for node in nodes:
        node.import_from_location()
    assert 'mmaction.models' not in sys.modules
    for node in nodes:
        for name, kind in node.module_dict.items():
            if node is VIDEO_READERS:  # looked up, to open many files
                assert node.get(f'mmtvr.{name}') is kind
            elif isinstance(kind, type):
                bare = dict(type=f'mmtvr.{name}', **known.get(name, {}))
                assert isinstance(node.parent.build(bare), kind), name
            else:  # a function is looked up, not called
                assert node.parent.get(f'mmtvr.{name}') is kind, name
            built.append(name)
    assert set(known) <= set(built), set(known) - set(built)
    return built


def main(clip: str, folder: str, *scopes: str) -> None:
    """Build under each scope in a fork of this process."""
    wings = ('datasets', 'engine', 'evaluation', 'losses', 'models')
    assert not {f'mmtvr.{wing}' for wing in wings} & set(sys.modules)
    for scope in scopes:
        child = os.fork()
        if not child:
            built = build_all(scope, clip, folder)
            print(json.dumps([scope, *built]), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert not status, scope


if __name__ == '__main__':
    main(*sys.argv[1:])
