import re
from argparse import ArgumentParser

import pytest
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from mmtvr.config import check as checking
from mmtvr.config.check import (
    ConfigOptions,
    accepted_arguments,
    check_config,
    check_options,
    check_parts,
    find_faults,
    merge_options,
    our_components,
)
from mmtvr.errors import SetupError
from mmtvr.registry import MODELS


class Head(nn.Module):
    def __init__(self, levels=('word',), embed_dims=8):
        super().__init__()


class Retriever(BaseModel):
    def __init__(self, head, **kwargs):
        super().__init__(**kwargs)

    def forward(self, *args, **kwargs):
        pass


class Greedy(nn.Module):
    def __init__(self, head=None, **kwargs):
        super().__init__(**kwargs)


def load(path):
    """A registered function."""


@pytest.fixture(autouse=True)
def components(monkeypatch):
    known = dict(Head=Head, Retriever=Retriever, Greedy=Greedy, load=load)
    monkeypatch.setattr(checking, 'our_components', lambda: known)


def check(scope='mmtvr', **parts):
    check_config(Config(dict(default_scope=scope, **parts)))


@pytest.mark.parametrize('scope', ['mmtvr', 'mmaction', None])
def test_known_keys_pass_under_any_scope(scope):
    head = dict(type='mmtvr.Head', levels=('sentence',))
    check(
        scope,
        model=dict(type='mmtvr.Retriever', head=head, init_cfg=None),
        pipeline=[dict(type='mmaction.Resize', whatever=1)],
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD')),
        data_root='anywhere',
    )


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
def test_numbers_of_the_optimizer_are_no_text(kind):
    def check_rate(rate):
        optimizer = dict(type=kind, lr=rate, maximize='any')
        check(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer))

    check_rate(1e-4)
    # As YAML reads it.
    for rate in ('1e-4', 'abc'):
        with pytest.raises(SetupError) as caught:
            check_rate(rate)
        assert (
            f"`lr` of {kind} must be a number such as 0.001, got '{rate}'"
            in str(caught.value)
        )


def test_an_unknown_key_is_named_with_its_place_and_a_guess():
    with pytest.raises(SetupError) as caught:
        check(
            model=dict(
                type='mmtvr.Retriever',
                head=dict(type='mmtvr.Head', levles=1),
            )
        )
    assert str(caught.value) == (
        'the config does not fit mmtvr:\n'
        '  model.head: mmtvr.Head has no argument `levles`; '
        'did you mean `levels`?'
    )


def test_lists_of_transforms_are_searched_and_all_faults_are_reported():
    with pytest.raises(SetupError) as caught:
        check(
            train_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type='mmaction.Resize'),
                        dict(type='mmtvr.load', paht='x'),
                        dict(type='mmtvr.Haed'),
                    ]
                )
            )
        )
    text = str(caught.value)
    assert 'train_dataloader.dataset.pipeline[1]: mmtvr.load' in text
    assert 'no mmtvr.Haed; did you mean `Head`?' in text


def test_a_bare_name_counts_as_ours_only_under_our_scope():
    with pytest.raises(SetupError, match=r'there is no mmtvr.Retreiver'):
        check(model=dict(type='Retreiver'))
    with pytest.raises(SetupError, match='no argument `x`'):
        check(model=dict(type='Head', x=1))
    check('mmaction', model=dict(type='Retreiver', x=1))
    check('mmaction', model=dict(type='Head', x=1))


def test_names_of_mmengine_are_not_taken_for_typing_errors(monkeypatch):
    monkeypatch.setattr(
        checking, 'our_components', lambda: dict(TestLoops=Head)
    )
    check(test_cfg=dict(type='TestLoop'))


def test_a_class_instead_of_a_name_is_checked_too(monkeypatch):
    monkeypatch.setattr(Head, '__module__', 'mmtvr.models.head')
    faults = list(find_faults(dict(type=Head, x=1), None))
    assert faults == ['mmtvr.Head has no argument `x`']


def test_what_is_registered_after_a_check_is_known(monkeypatch):
    assert 'RegisteredLate' not in our_components()
    monkeypatch.setitem(MODELS.module_dict, 'RegisteredLate', Head)
    assert our_components()['RegisteredLate'] is Head


def test_arguments_of_base_classes_are_accepted():
    assert accepted_arguments(Retriever) == {
        'head',
        'data_preprocessor',
        'init_cfg',
    }
    assert accepted_arguments(load) == {'path'}
    assert accepted_arguments(Greedy) is None
    assert accepted_arguments(type('Empty', (), {})) == set()


def test_an_option_that_no_one_reads_is_refused():
    cfg = Config(dict(model=dict(), my_variable=1))
    check_options(cfg, {'model.head.levels': 1})
    check_options(cfg, {'auto_scale_lr.enable': True, 'load_from': 'x'})
    wanted = re.escape(
        '--cfg-options modle.head: the config has no `modle`; '
        'did you mean `model`?'
    )
    with pytest.raises(SetupError, match=wanted):
        check_options(cfg, {'modle.head': 1})


def test_a_variable_of_the_file_names_the_keys_that_took_it():
    cfg = Config(
        dict(
            num_frames=4,
            unused=1,
            train_dataloader=dict(
                dataset=dict(pipeline=[dict(), dict(num_frames=4)])
            ),
        )
    )
    with pytest.raises(
        SetupError,
        match=r'num_frames would change nothing.*: set '
        r'train_dataloader\.dataset\.pipeline\.1\.num_frames$',
    ):
        check_options(cfg, {'num_frames': 8})
    with pytest.raises(SetupError, match='unused would change nothing'):
        check_options(cfg, {'unused': 8})


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (
            'train_dataloader.batchsize',
            '`batchsize`; did you mean `batch_size`',
        ),
        ('test_dataloader.dataset.pipeline.9.num_frames', 'no such place'),
        ('train_dataloader.dataset.pipeline.x', 'no such place'),
        ('work_dir.x', 'no such place'),
    ],
)
def test_options_that_lead_nowhere_are_one_message(option, words):
    cfg = Config(
        dict(
            default_scope='mmtvr',
            work_dir='somewhere',
            train_dataloader=dict(batch_size=1, dataset=dict(pipeline=[{}])),
            test_dataloader=dict(batch_size=1, dataset=dict(pipeline=[{}])),
        )
    )

    def read():
        merge_options(cfg, {option: 1})
        check_config(cfg)

    with pytest.raises(SetupError, match=words):
        read()


def test_a_variable_is_refused_with_the_keys_that_would_work():
    loader = dict(dataset=dict(data_root='here'))
    cfg = Config(
        dict(
            data_root='here',
            train_dataloader=loader,
            train_cfg=dict(max_epochs=5),
        )
    )
    with pytest.raises(SetupError, match=r'train_dataloader\.dataset\.data_r'):
        check_options(cfg, {'data_root': 'there'})
    with pytest.raises(SetupError, match=r'no `max_epochs`: set train_cfg\.m'):
        check_options(cfg, {'max_epochs': 1})


@pytest.mark.parametrize(
    ('part', 'key', 'meant'),
    [
        ('env_cfg', 'tf3', 'tf32'),
        ('randomness', 'sed', 'seed'),
        ('train_dataloader', 'batchsize', 'batch_size'),
    ],
)
def test_a_misspelt_key_of_a_part_without_a_type_is_found(part, key, meant):
    with pytest.raises(SetupError, match=f'{part}: .*`{key}`.*`{meant}`'):
        check(**{part: {key: 1}})


def test_the_top_of_a_config_is_checked_for_a_run():
    whole = dict(model=dict(type='x'), train_pipeline=[], data_root='here')
    check_parts(Config(whole), 'model')
    with pytest.raises(SetupError, match='no train_cfg and no optim_wrapper'):
        check_parts(Config(whole), 'model', 'train_cfg', 'optim_wrapper')
    with pytest.raises(SetupError, match=r'`modell`.*did you mean `model`'):
        check_parts(Config(dict(whole, modell={})), 'model')


def test_an_option_without_a_value_is_refused(capsys):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    args = parser.parse_args(['--cfg-options', 'a.b=1', 'c=x=y'])
    assert args.cfg_options == {'a.b': 1, 'c': 'x=y'}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'model.head'])
    assert 'model.head: expected KEY=VALUE' in capsys.readouterr().err


def test_a_module_without_arguments_takes_none():
    from mmtvr.config.check import accepted_arguments
    from mmtvr.models.heads import CosineHead

    assert accepted_arguments(CosineHead) == set()
