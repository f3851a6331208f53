"""The collections that an index has in Milvus."""

from collections.abc import Sequence
from typing import Any

from mmtvr.errors import SetupError
from mmtvr.search.milvus_client import MilvusClient
from mmtvr.search.milvus_rows import LONGEST

KEY_LENGTH = 64
#: Every collection of Milvus has a vector, needed or not, of 2 at least.
BLANK = 2
KINDS = ('videos', 'files', 'about')
WITH_CONTENT = ('videos', 'files')


def name_collection(index: str, kind: str) -> str:
    """Name a collection.

    Args:
        index: The name of the index.
        kind: One of ``KINDS``.

    Returns:
        The name.
    """
    return f'{index}_{kind}'


def is_made(client: MilvusClient, index: str, kind: str) -> bool:
    """Say whether a collection is there and whole.

    Args:
        client: The engine.
        index: The name of the index.
        kind: One of ``KINDS``.

    Returns:
        Whether its vectors have an index, without which it cannot be loaded:
        a process may have been killed before that was made.
    """
    name = name_collection(index, kind)
    return client.has_collection(name) and bool(
        client.list_indexes(name, field_name='vector')
    )


def make_collection(
    client: MilvusClient, index: str, kind: str, width: int = BLANK
) -> None:
    """Make a collection, or what it lacks where a process was killed.

    A vector that is needed gets the index that the engine chooses. The others
    are all zero, of which a graph would be made at great cost. ``content`` is
    indexed: each search asks for the files of its results by it.

    Args:
        client: The engine.
        index: The name of the index.
        kind: One of ``KINDS``.
        width: Of the vector.

    Raises:
        SetupError: There is another collection of that name.
    """
    name = name_collection(index, kind)
    present: Sequence[str] = ()
    if client.has_collection(name):
        _refuse_other(client, name, kind, width)
        present = [
            field
            for field in ('content', 'vector')
            if client.list_indexes(name, field_name=field)
        ]
    else:
        client.create_collection(name, schema=_schema(client, kind, width))
    search = 'AUTOINDEX' if width > BLANK else 'FLAT'
    indices = client.prepare_index_params()
    if kind in WITH_CONTENT and 'content' not in present:
        indices.add_index('content', index_type='INVERTED')
    if 'vector' not in present:
        indices.add_index('vector', index_type=search, metric_type='IP')
    if len(indices):
        # There is nothing to index yet, and to wait takes half a second.
        client.create_index(name, indices, sync=False)
    client.load_collection(name)


def _schema(client: MilvusClient, kind: str, width: int) -> Any:
    from pymilvus import DataType

    schema = client.create_schema(enable_dynamic_field=False)
    text = DataType.VARCHAR
    schema.add_field('key', text, is_primary=True, max_length=KEY_LENGTH)
    schema.add_field('part', DataType.INT16)
    schema.add_field('json', text, max_length=LONGEST)
    schema.add_field('vector', DataType.FLOAT_VECTOR, dim=width)
    if kind in WITH_CONTENT:
        schema.add_field('content', text, max_length=KEY_LENGTH)
    return schema


def _refuse_other(
    client: MilvusClient, name: str, kind: str, width: int
) -> None:
    """It may hold data of somebody else, or of a model of another width."""
    fields = {
        field['name']: field.get('params', {})
        for field in client.describe_collection(name)['fields']
    }
    expected = {'key', 'part', 'json', 'vector'}
    expected |= {'content'} if kind in WITH_CONTENT else set()
    found = fields.get('vector', {}).get('dim')
    if set(fields) != expected or int(found or 0) != width:
        raise SetupError(
            f'Milvus has a collection {name} already, with the fields '
            f'{", ".join(sorted(fields))} and vectors of {found}, expected '
            f'{", ".join(sorted(expected))} and {width}: give the index '
            'another NAME in its address, or drop the collection if nobody '
            'needs it'
        )
