import random

import numpy as np
import torch

from mmtvr.randomness import place_seed, same_random_state, seed_generators


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_every_place_has_a_seed_of_its_own():
    places = [(1,), (1, 0), (0, 1), (1, 0, 0), (1, 1), (0, 1, 0)]
    places += [(0, 3, position) for position in range(2000)]
    seeds = {place_seed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_place_has_the_same_seed_on_every_machine():
    assert place_seed(0, 1, 2) == 18280668237473943262


def test_a_seed_sets_all_generators():
    seed_generators(7)
    first = draws()
    draws()
    seed_generators(7)
    assert draws() == first
    seed_generators(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_draws_inside_leave_no_trace():
    seed_generators(1)
    expected = draws()
    seed_generators(1)
    with same_random_state():
        seed_generators(2, gpus=False)
    assert draws() == expected
