"""Which addresses an index can have, and what of one everybody may read."""

from urllib.parse import urlsplit, urlunsplit

LITE = 'milvus:'
CLUSTERS = ('http', 'https')
OBJECT_STORES = ('s3', 'gs', 'az')
DATABASE = 'db='


def without_secrets(url: str) -> str:
    """Write the address of an index so that everybody may read it.

    Args:
        url: A folder or an address.

    Returns:
        The same without user, password, token and other options; the
        database stays, without which the index is not found. Where it cannot
        be told what is secret, the kind of the address alone.

    Examples:
        >>> without_secrets('https://ann:pass@host/clips?token=abc&db=films')
        'https://host/clips?db=films'
        >>> without_secrets('https://ann:pa/ss@host/clips')
        'https://...'
    """
    scheme, separator, _ = url.partition('://')
    if not separator:
        return url
    if is_misread(url):
        return f'{scheme}://...'
    parts = urlsplit(url)
    host = parts.netloc.rpartition('@')[2]
    options = parts.query.split('&')
    shown = '&'.join(each for each in options if each.startswith(DATABASE))
    return urlunsplit((parts.scheme, host, parts.path, shown, ''))


def is_misread(url: str) -> bool:
    """Whether parts of a secret may be taken for something else.

    Args:
        url: An address with a scheme.

    Returns:
        True where an ``@`` stands behind the host, as after a password with
        a slash in it, where something follows a ``#``, and where it is no
        address at all. Names in object stores may have an ``@``.

    Example:
        >>> is_misread('https://ann:pa%2Fss@host/clips')
        False
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return True
    if parts.scheme in OBJECT_STORES:
        return False
    return '@' in parts.path + parts.query or bool(parts.fragment)
