"""``frozen_features='FOLDER'`` of a config: train from stored features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmtvr.errors import SetupError

SPLITS = ('train', 'val', 'test')
KEY = 'frozen_features'


def find_files(cfg: Config, folder: str | Path) -> dict[str, Path]:
    """Name the file of each loader; those with one dataset share it.

    Raises:
        SetupError: A loader joins several datasets.
    """
    files: dict[str, Path] = {}
    for split in reversed(SPLITS):
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        if 'pipeline' not in loader['dataset']:
            raise SetupError(
                f'{split}_dataloader.dataset is a '
                f'{loader["dataset"].get("type")} without a pipeline of its '
                'own; features are stored of a single dataset such as '
                'mmtvr.TextVideoDataset'
            )
        same = (
            file
            for other, file in files.items()
            if cfg[f'{other}_dataloader']['dataset'] == loader['dataset']
        )
        files[split] = next(same, Path(folder) / f'{split}.safetensors')
    return files


def apply_frozen_features(cfg: Config) -> None:
    """Replace ``frozen_features`` by the settings that it stands for.

    Each loader reads its dataset as features of the folder, in the process
    itself; the encoders are frozen up to their projections; a hook compares
    them with those that made the features.

    Args:
        cfg: The whole config, changed in place; without the key nothing
            happens.

    Raises:
        SetupError: A loader joins several datasets, or the model has
            adapters.
    """
    folder = cfg.pop(KEY, None)
    if not folder:
        return
    if any((cfg.model.get('lora') or {}).values()):
        raise SetupError(
            f'model.lora changes the towers, but frozen_features={folder!r} '
            'has what they gave before: leave out one of them'
        )
    for split, file in find_files(cfg, folder).items():
        _read_features(cfg[f'{split}_dataloader'], file)
    cfg.model.frozen_encoders = True
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = [*hooks, dict(type='mmtvr.FrozenFeaturesHook')]


def _read_features(loader: Mapping[str, Any], file: Path) -> None:
    loader['dataset'] = ConfigDict(
        type='mmtvr.FrozenFeatureDataset',
        dataset=loader['dataset'],
        file=str(file),
    )
    # What workers hand over costs more than it is worth.
    loader['num_workers'] = 0
    loader['persistent_workers'] = False
    loader.pop('prefetch_factor', None)
