"""Where an index in Milvus is, and how to log in there."""

import os
import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from mmtvr.errors import SetupError
from mmtvr.search.addresses import LITE, is_misread, without_secrets

DEFAULT_NAME = 'mmtvr'
TOKEN = 'MILVUS_TOKEN'
LITE_ENDING = '.db'
OPTIONS = dict(token='token', db='db_name')
# Three collections are named after it, and Milvus takes 255 characters.
NAME = re.compile('[A-Za-z_][A-Za-z0-9_]{0,239}')


class MilvusAddress(NamedTuple):
    """The address of an index, taken apart.

    Attributes:
        uri: Of the engine, without secrets.
        name: Of the index; begins the names of its collections.
        options: How to log in, and to which database.
    """

    uri: str
    name: str
    options: dict[str, str]


def take_apart(url: str) -> MilvusAddress:
    """Take the address of an index apart.

    Args:
        url: See :class:`mmtvr.search.milvus_store.MilvusStore`.

    Returns:
        Its parts.

    Raises:
        SetupError: Milvus does not take the name or the file, or it cannot
            be told what is the login.
    """
    if url.startswith(LITE):
        return MilvusAddress(_lite_file(url), DEFAULT_NAME, {})
    if is_misread(url):
        raise SetupError(
            f'the address {without_secrets(url)} can be read in several ways: '
            'percent-encode its user, password and token (@ is %40, / is %2F, '
            f'? is %3F, # is %23), or put the token into {TOKEN}'
        )
    parts = urlsplit(url)
    options = _options(parts.query)
    if parts.username:
        options['user'] = unquote(parts.username)
        options['password'] = unquote(parts.password or '')
    elif TOKEN in os.environ:
        options.setdefault('token', os.environ[TOKEN])
    name = parts.path.strip('/') or DEFAULT_NAME
    if not NAME.fullmatch(name):
        raise SetupError(
            f'the index {without_secrets(url)} is named {name!r}; Milvus '
            'takes letters, digits and underscores, no digit first'
        )
    host = parts.netloc.rpartition('@')[2]
    uri = urlunsplit((parts.scheme, host, '', '', ''))
    return MilvusAddress(uri, name, options)


def _lite_file(url: str) -> str:
    file = url.removeprefix(LITE)
    if not file.endswith(LITE_ENDING) or file.startswith('//'):
        raise SetupError(
            f'Milvus Lite takes a file that ends in {LITE_ENDING}, '
            f'{LITE}FILE{LITE_ENDING}, not {without_secrets(url)}; a cluster '
            'is at http://HOST:19530/NAME'
        )
    return os.path.abspath(file)


def _options(query: str) -> dict[str, str]:
    # Not parse_qs: a plus in a token is a plus.
    pairs = [each.partition('=') for each in query.split('&') if each]
    if any(name not in OPTIONS or not equals for name, equals, _ in pairs):
        # Not which: it may be the rest of a token.
        known = ' and '.join(f'{name}=' for name in OPTIONS)
        raise SetupError(
            f'an address in Milvus has the options {known} alone, this one '
            'has another; write & in a token as %26'
        )
    return {OPTIONS[name]: unquote(value) for name, _, value in pairs}
