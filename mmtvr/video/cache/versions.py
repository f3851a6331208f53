"""What pixels depend on besides the file."""

import functools
from importlib import metadata

#: To be raised with every change of which frames, or which pixels, the
#: readers of this package hand out.
READERS_REVISION = 2
DECODERS = (
    'av',
    'decord',
    'torchcodec',
    'opencv-python',
    'opencv-python-headless',
    'opencv-contrib-python',
    'opencv-contrib-python-headless',
)


@functools.cache
def decoder_versions() -> dict[str, str | int]:
    """Name the packages that decode and resize.

    Returns:
        Version by package, of those that are installed.
    """
    versions: dict[str, str | int] = dict(mmtvr=READERS_REVISION)
    for name in DECODERS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
