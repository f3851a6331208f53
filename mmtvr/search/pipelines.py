"""The test pipeline of a config, taken apart for texts and for videos."""

from typing import Any, NamedTuple

from mmcv.transforms import Compose
from mmengine.config import Config

from mmtvr.errors import SetupError
from mmtvr.registry import TRANSFORMS

META_KEYS = ('text', 'frame_inds', 'frame_times', 'filename')


class Pipelines(NamedTuple):
    """What texts and videos go through.

    Attributes:
        text: From ``dict(text=[...])`` to packed word pieces.
        video: From ``dict(filename=...)`` to packed frames.
    """

    text: Compose
    video: Compose


def find_test_pipeline(cfg: Config) -> list[dict]:
    """Find the transforms of the test set.

    Args:
        cfg: The whole config.

    Returns:
        Configs of the transforms.

    Raises:
        SetupError: The config has no test set with a pipeline.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset:
        inner = dataset.get('dataset') or dataset.get('datasets')
        if not inner:
            raise SetupError(
                'the config has no test_dataloader.dataset.pipeline, which '
                'says how texts and videos are read'
            )
        dataset = inner[0] if isinstance(inner, list | tuple) else inner
    return [dict(each) for each in dataset['pipeline']]


def split_pipeline(transforms: list[dict]) -> Pipelines:
    """Build a pipeline once for texts and once for videos.

    A transform whose class has the attribute ``reads = 'text'`` goes with
    the texts, one with ``reads = 'both'`` with both, any other one with the
    videos.

    Args:
        transforms: Configs of the transforms.

    Returns:
        Both pipelines.

    Raises:
        SetupError: No transform reads text, or none packs.
    """
    built = [TRANSFORMS.build(_keep_meta(each)) for each in transforms]
    reads = [getattr(each, 'reads', 'video') for each in built]
    if 'text' not in reads or 'both' not in reads:
        raise SetupError(
            'the test pipeline needs a transform of texts (such as '
            'mmtvr.TokenizeText, or yours with a class attribute '
            "reads = 'text') and mmtvr.PackTextVideo, got "
            f'{[each["type"] for each in transforms]}'
        )
    pairs = list(zip(built, reads, strict=True))
    return Pipelines(
        Compose([each for each, kind in pairs if kind != 'video']),
        Compose([each for each, kind in pairs if kind != 'text']),
    )


def _keep_meta(transform: dict[str, Any]) -> dict[str, Any]:
    if str(transform['type']).rpartition('.')[2] != 'PackTextVideo':
        return transform
    return {**transform, 'meta_keys': META_KEYS}
