"""Samples whose random draws are a function of their place in training."""

from typing import Any

from torch.utils.data import Dataset

from mmtvr.randomness import same_random_state, seed_generators
from mmtvr.registry import DATASETS


class SeededIndex(int):
    """Number of a sample, with the seed of its random draws.

    Attributes:
        seed: 64 bits, see :func:`mmtvr.randomness.place_seed`.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        """Make a number with a seed."""
        self = super().__new__(cls, index)
        self.seed = seed
        return self

    def __getnewargs__(self) -> tuple[int, int]:
        """Keep the seed on the way to a loading worker."""
        return int(self), self.seed


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A dataset whose samples draw from generators set for each of them.

    What a sample draws, frames, captions, dropped words, augmentations and
    the sample that takes the place of an unreadable one, then depends neither
    on the worker that loads it nor on what that worker loaded before. All
    else is that of the dataset within.

    Args:
        dataset (dict | Dataset): Any map-style dataset, or its config. Its
            random draws come from the global generators of Python, numpy
            and torch.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        self.dataset = dataset

    def full_init(self) -> None:
        """Load the annotations, if that was put off."""
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Load one sample.

        Args:
            index: Its number. A :class:`SeededIndex` decides what it draws
                and leaves the generators of this process as they were.

        Returns:
            What the dataset gives.
        """
        if not isinstance(index, SeededIndex):
            return self.dataset[index]
        with same_random_state():
            seed_generators(index.seed, gpus=False)
            return self.dataset[int(index)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__') or name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)
