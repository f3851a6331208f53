"""What an index must know of the model that filled it."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmtvr.errors import SetupError
from mmtvr.files import hash_file

FORMAT = 1
DIGEST_BYTES = 12
# What training needs and an encoded video does not depend on.
NOT_ENCODING = ('contrastive_loss', 'partial_loss', 'cached_contrastive')
HASHED = ('model', 'pipeline', 'checkpoint')


def describe_model(
    cfg: Config, pipeline: list[dict], checkpoint: Path | None
) -> dict[str, Any]:
    """Say which model an index belongs to.

    Args:
        cfg: The whole config.
        pipeline: Its test pipeline.
        checkpoint: The weights; None for the pretrained encoders.

    Returns:
        Facts that can be written as JSON: hashes of what features depend on,
        and in words how videos are read.
    """
    model = {k: v for k, v in cfg.model.items() if k not in NOT_ENCODING}
    name = Path(cfg.filename).stem if cfg.filename else 'config'
    return dict(
        format=FORMAT,
        name=name,
        model=_digest(model),
        pipeline=_digest(pipeline),
        checkpoint=None if checkpoint is None else hash_file(checkpoint),
        checkpoint_path=None if checkpoint is None else str(checkpoint),
        reading=_describe_reading(pipeline),
        config=cfg.pretty_text,
    )


def check_model(found: dict[str, Any], ours: dict[str, Any], url: str) -> None:
    """Refuse an index that another model filled.

    Args:
        found: Facts of the index.
        ours: Facts of the model that asks.
        url: The index, for the message.

    Raises:
        SetupError: They differ in what features depend on.
    """
    if found.get('format') != FORMAT:
        raise SetupError(
            f'the index {url} has format {found.get("format")}, this version '
            f'of mmtvr reads {FORMAT}: index the videos anew'
        )
    if all(found.get(fact) == ours[fact] for fact in HASHED):
        return
    differ = [fact for fact in HASHED if found.get(fact) != ours[fact]]
    raise SetupError(
        f'the index {url} was filled by {name_model(found)}, not by '
        f'{name_model(ours)} (different: {", ".join(differ)}). Features of '
        'two models cannot be compared: go on with the first one, or index '
        'the videos with the second into another place.'
    )


def name_model(facts: dict[str, Any]) -> str:
    """Name a model for a message.

    Args:
        facts: See :func:`describe_model`.

    Returns:
        Config and weights, each with a few digits of its hash.
    """
    if facts.get('imported'):
        return f'imported features ({facts["name"]})'
    weights = 'pretrained weights'
    if facts['checkpoint']:
        path = facts['checkpoint_path']
        weights = f'{path} ({facts["checkpoint"][:8]})'
    return f'{facts["name"]} ({facts["model"][:8]}) with {weights}'


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _describe_reading(pipeline: list[dict]) -> str:
    for transform in pipeline:
        kind = str(transform['type']).rpartition('.')[2]
        if kind.startswith('Load'):
            options = {k: v for k, v in transform.items() if k != 'type'}
            listed = ', '.join(f'{k}={v!r}' for k, v in options.items())
            return f'{kind}({listed})'
    return 'unknown'
