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


@pytest.fixture(scope='session')
def slow_rows():
    """Mean over both directions, rows and positives of a cost."""

    def compute(sim, match, cost):
        directions = []
        for matrix, own in ((sim, match), (sim.T, match.T)):
            rows = []
            for scores, mine in zip(
                matrix.tolist(), own.tolist(), strict=True
            ):
                positives = [
                    s for s, yes in zip(scores, mine, strict=True) if yes
                ]
                negatives = [
                    s for s, yes in zip(scores, mine, strict=True) if not yes
                ]
                costs = [cost(p, negatives) for p in positives]
                if costs:
                    rows.append(sum(costs) / len(costs))
            directions.append(sum(rows) / len(rows))
        return sum(directions) / 2

    return compute
