"""Golden values of the released losses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parents[1] / 'data'


@pytest.fixture(scope='session')
def golden_3x3():
    """Three captions and videos; loss and gradient of the released class."""
    case = json.loads((DATA / 'golden.json').read_text())['negnce_3x3']
    tensors = ('sim', 'grad_sym')
    return {
        key: torch.tensor(value).double() if key in tensors else value
        for key, value in case.items()
    }


@pytest.fixture(scope='session')
def golden_arrays():
    """Values of the released classes on random inputs, float64."""
    arrays = np.load(DATA / 'golden.npz')
    return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


@pytest.fixture(scope='session')
def several_positives():
    """Texts 0, 1 of video 0; 2 of videos 1, 2; 3, 4 of 3; 5 of none."""
    match = torch.zeros(6, 5, dtype=torch.bool)
    for pair in ((0, 0), (1, 0), (2, 1), (2, 2), (3, 3), (4, 3)):
        match[pair] = True
    return match
