"""Search an index by the model that it names itself."""

import os
from pathlib import Path

from mmengine.registry import init_default_scope

from mmtvr.apis.plain_config import parse_plain_config
from mmtvr.apis.searcher import TextVideoSearcher
from mmtvr.errors import SetupError
from mmtvr.search.addresses import without_secrets
from mmtvr.search.stores import open_store, require_index

PathLike = str | os.PathLike[str]


def open_searcher(
    index: PathLike,
    checkpoint: PathLike | None = None,
    device: str | None = None,
) -> TextVideoSearcher:
    """Open an index with the model that it names itself.

    Args:
        index: The folder or the address of an index.
        checkpoint: Where the checkpoint is now, if it has moved.
        device: Where to compute; None for a GPU if there is one.

    Returns:
        A searcher with the index open.

    Raises:
        SetupError: There is no index, its model is not to be found, or its
            config might run code.

    Examples:
        >>> open_searcher(where).search('a blue star', top_k=1)[0].rank
        1
    """
    about = require_index(open_store(index))
    shown = without_secrets(os.fspath(index))
    if about.get('imported'):
        raise SetupError(
            f'{shown} holds imported features ({about["name"]}), '
            'whose model mmtvr does not have: search it with vectors of that '
            'model (--vectors) or by one of its videos (--video)'
        )
    config = parse_plain_config(about['config'], f'the index {shown}')
    init_default_scope(config.get('default_scope') or 'mmtvr')
    if about['checkpoint'] is None:
        checkpoint = None
    elif checkpoint is None:
        checkpoint = about['checkpoint_path']
        if not Path(checkpoint).is_file():
            raise SetupError(
                f'the checkpoint of the index {shown} is no longer '
                f'{checkpoint}: say where it is with --checkpoint PATH'
            )
    searcher = TextVideoSearcher(config, checkpoint, device)
    searcher.encoder.about['name'] = about['name']
    return searcher.open(index)
