"""Random draws that depend on where they are made, not on what came before.

A stream of random numbers that runs through a whole training has a position,
which a restart would have to restore in every process and in every loading
worker, and which depends on how many workers there are and how far they read
ahead. Here the generators are seeded from (seed, epoch, position of the
sample) before each sample, and from (seed, iteration) before each step. There
is then no position to restore.
"""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def place_seed(*place: int) -> int:
    """A seed of 64 bits for a place in a training run.

    It is the same in every process and on every machine.

    Args:
        *place: Non-negative numbers that name the place: the seed of the run,
            then epoch, position and so on. Places that differ in any number
            or in their length get unrelated seeds.

    Example:
        >>> place_seed(0, 1, 2) == place_seed(0, 1, 2)
        True
        >>> place_seed(0, 1, 2) == place_seed(0, 2, 1)
        False
    """
    # With the length in front: numpy takes (1,) and (1, 0) for the same.
    sequence = np.random.SeedSequence((len(place), *place))
    words = sequence.generate_state(2, np.uint32)
    return int(words[0]) << 32 | int(words[1])


def seed_generators(seed: int, gpus: bool = True) -> None:
    """Seed the generators of Python, numpy and torch, ``gpus`` included."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.default_generator.manual_seed(seed)
    if gpus and torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


@contextlib.contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the global generators of the CPU at the end."""
    python, numpy = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.default_generator.set_state(torch_state)
