"""What users get wrong: a status, and one message instead of a traceback.

Each message names what was given, and what to do or what was expected.
"""

import logging
import shlex
import shutil

import pytest
import torch
from mmengine.logging import MMLogger

from mmtvr.cli.main import main
from mmtvr.registry import MODELS

pytestmark = pytest.mark.slow

# Where: `tiny.py` and `model.pth`, a config and its weights; `index`, of
# `videos`; `notes.txt`, text; `empty`, a folder.
USES = [
    # command, words for what was given, words for the remedy
    ('trian tiny.py', "'trian'", 'did you mean train'),
    ('train', 'config', 'usage: mmtvr train'),
    ('train tpmcl_moving_shape', 'tpmcl_moving_shape', 'mmtvr recipes'),
    ('train nowhere/my.py', 'nowhere/my.py', 'looked from'),
    ('train broken.py', 'broken.py', 'line '),
    ('train orphan.py', 'gone_base.py', 'orphan.py'),
    ('train notes.txt', 'notes.txt', 'py/yml/yaml/json'),
    ('train empty.py', 'empty.py', 'model'),
    ('train tiny.py --seed one', "'one'", '--seed'),
    ('train tiny.py --resume gone.pth', 'gone.pth', 'does not exist'),
    ('train tiny.py --resume notes.txt', 'notes.txt', 'checkpoint'),
    ('train tiny.py --amp', '--amp', 'needs a GPU'),
    ('train tiny.py --work-dir notes.txt', 'notes.txt', 'folder'),
    ('train tiny.py --cfg-options batch_size', 'batch_size', 'KEY=VALUE'),
    ('train tiny.py --cfg-options model.hed=1', '`hed`', '`head`'),
    (
        'train tiny.py --cfg-options train_dataloader.dataset.ann_file=x.json',
        'x.json',
        'prepare',
    ),
    (
        'train tiny.py --cfg-options train_dataloader.batch_size=0',
        'batch_size=0',
        'positive integer',
    ),
    (
        'train tiny.py --cfg-options train_dataloader.batch_size=four',
        'batch_size=four',
        'positive integer',
    ),
    (
        'train tiny.py --cfg-options train_cfg.max_epochs=-1',
        'max_epochs is -1',
        'at least 1',
    ),
    (
        'train tiny.py --cfg-options optim_wrapper.optimizer.type=Adamm',
        'Adamm',
        '`Adam`',
    ),
    (
        'train tiny.py --cfg-options optim_wrapper.optimizer.lr=abc',
        "'abc'",
        'must be a number',
    ),
    (
        'train tiny.py --cfg-options optim_wrapper.optimizer.betas=abc',
        "'abc'",
        '2 numbers such as',
    ),
    (
        'train tiny.py --cfg-options model.head.type=mmtvr.DMAHead',
        'DMAHead',
        'DMAEHead',
    ),
    (
        'train tiny.py --cfg-options val_evaluator.type=Recal',
        'Recal',
        'custom_imports',
    ),
    ('test tiny.py gone.pth', 'gone.pth', 'looked from'),
    ('test tiny.py notes.txt', 'notes.txt', 'checkpoint'),
    ('test tiny.py empty', 'empty', 'checkpoint'),
    ('test tiny.py model.pth --dump scores.csv', 'scores.csv', '.npz'),
    ('test tiny.py model.pth --fine-grained no.json', 'no.json', 'not exist'),
    ('index tiny.py videos', '--into', 'usage'),
    ('index tiny.py nowhere --into new', "'nowhere'", 'looked from'),
    ('index fresh.py videos --into new', 'fresh.py', 'none'),
    (
        'index tiny.py videos --into notes.txt --checkpoint model.pth',
        'notes.txt',
        'folder',
    ),
    (
        'index tiny.py videos --into new --checkpoint model.pth --device gpu',
        'gpu',
        'cuda',
    ),
    (
        'index tiny.py videos --into new --checkpoint model.pth --device cuda',
        'cuda',
        'cpu',
    ),
    ('index tiny.py videos --into index --parts 0', '0', 'below 1'),
    ('index --into new --import notes.txt', 'notes.txt', '.npz'),
    ('search nowhere "a dog"', 'nowhere', 'mmtvr index'),
    ('search empty "a dog"', 'empty', 'mmtvr index'),
    ('search index', 'text', '--video'),
    ('search index " "', 'empty', 'a few words'),
    ('search index "a dog" --device gpu', 'gpu', 'cuda'),
    ('search index --video gone.mp4', 'gone.mp4', 'give the path'),
    ('search index --video notes.txt', 'no video, or damaged', 'ffmpeg -i'),
    ('search index --video empty', 'not a regular file', 'give the path'),
    ('search index --video empty.csv', 'empty.csv', 'ffmpeg -i'),
    ('search index --vectors empty', 'empty', 'there is no file'),
    ('search index --vectors notes.txt', 'notes.txt', '.npy'),
    ('search index "a dog" --clips notes.txt', 'notes.txt', 'folder'),
    ('index --into index --calibrate empty', 'empty', 'folder'),
    ('serve index --judgements empty', 'empty', 'folder'),
    ('serve index --cache notes.txt', 'notes.txt', 'folder'),
    ('evaluate empty', 'empty', 'there is no file'),
    ('serve nowhere', 'nowhere', 'mmtvr index'),
    ('serve index --port 99999', '99999', '65535'),
    ('serve index --token-file gone.txt', 'gone.txt', 'openssl'),
    ('serve index --token-file videos/video0.mp4', 'video0.mp4', 'UTF-8'),
    ('serve index --token-file empty.csv', 'empty.csv', 'openssl'),
    ('evaluate gone.npz', 'gone.npz', 'there is no file'),
    ('evaluate notes.txt', 'notes.txt', '--qrels'),
    ('evaluate sims.npy', 'sims.npy', '--match'),
    ('evaluate square.npy --protocol msrvt', 'msrvt', 'msrvtt'),
    (
        'evaluate square.npy --rescore dual-softmax:x',
        'dual-softmax:x',
        'NAME:TEMPERATURE',
    ),
    ('evaluate square.npy --about decoder', "'decoder'", 'NAME=VALUE'),
    ('prepare tabel pairs.csv out', "'tabel'", 'table'),
    ('prepare table gone.csv out', 'gone.csv', 'looked from'),
    ('prepare table columns.csv out', 'columns.csv', '--columns'),
    ('prepare table empty.csv out', 'empty.csv', 'no row'),
    ('prepare msrvtt nowhere', 'nowhere', 'original files'),
    ('explain gone.mp4 "a dog" --index index', 'gone.mp4', 'looked from'),
    ('explain videos/video0.mp4 "a dog"', '--config', '--index'),
    ('export tiny.py', '--into', 'FOLDER'),
    ('export tiny.py gone.pth --into out', 'gone.pth', 'looked from'),
    ('verify tiny.py --ignore sort', "'sort'", 'short'),
    ('curves empty', 'empty', 'log'),
    ('failures tiny.py gone.pth', 'gone.pth', 'looked from'),
    ('browse tiny.py --first 999', '999', 'has'),
    ('browse tiny.py --out page.docx', '.docx', 'png'),
    ('reproduce msrvtt', "'msrvtt'", 'clip4clip_msrvtt'),
    ('cache tiny.py', 'cache', 'folder'),
    ('lora tiny.py model.pth', '--adapters', '--merged'),
    ('lora tiny.py model.pth --merged out.pth', 'tiny.py', 'model.lora'),
    ('extract tiny.py notes.txt', 'notes.txt', 'folder'),
    ('completion csh', "'csh'", 'bash'),
    ('recipes nothing', "'nothing'", 'mmtvr recipes'),
]


@pytest.fixture(scope='module')
def folder(tiny_config, tiny_videos, tmp_path_factory):
    """Where the commands are called."""
    import numpy as np
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    folder = tmp_path_factory.mktemp('home')
    texts = {
        'tiny.py': f"_base_ = '{tiny_config}'\n",
        'broken.py': 'model = dict(\nmodel = 1\n',
        'orphan.py': "_base_ = 'gone_base.py'\n",
        'empty.py': '',
        'fresh.py': f"_base_ = '{tiny_config}'\n",
        'notes.txt': 'Remember the milk.\n',
        'columns.csv': 'number,year\n1,2020\n',
        'empty.csv': '',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / 'empty').mkdir()
    shutil.copytree(tiny_videos / 'videos', folder / 'videos')
    np.save(folder / 'sims.npy', np.eye(4, 3))
    np.save(folder / 'square.npy', np.eye(3))
    init_default_scope('mmtvr')
    model = MODELS.build(Config.fromfile(tiny_config).model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'model.pth')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        command = 'index tiny.py videos --into index --checkpoint model.pth'
        assert main(command.split()) == 0
    return folder


@pytest.mark.parametrize(
    ('command', 'given', 'remedy'), USES, ids=[use[0] for use in USES]
)
def test_it_ends_with_a_message(
    folder, command, given, remedy, monkeypatch, capsys
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    # Loggers of the commands before hold their output, which is closed, and
    # a run of the same second would go on with theirs.
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    try:
        status = main(shlex.split(command))
    except SystemExit as end:
        status = end.code
    told = capsys.readouterr().err
    assert status in (1, 2)
    assert 'Traceback' not in told
    assert given in told
    assert remedy in told


def test_there_are_forty_and_more():
    assert len({command for command, *_ in USES}) >= 40
