"""mmengine's storage on local disks, with files that appear as a whole."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from mmtvr.atomic_file import write_atomically

ATOMIC = 'mmtvr.atomic'


class AtomicBackend(LocalBackend):
    """Local files that are there as a whole or not at all.

    Example:
        >>> default_hooks = dict(checkpoint=dict(
        ...     type='CheckpointHook',
        ...     backend_args=dict(backend='mmtvr.atomic')))
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes, see :func:`mmtvr.atomic_file.write_atomically`.

        Args:
            obj: The content.
            filepath: Where to.
        """
        write_atomically(filepath, obj)

    def put_text(
        self, obj: str, filepath: str | Path, encoding: str = 'utf-8'
    ) -> None:
        """Write a text, see :func:`mmtvr.atomic_file.write_atomically`.

        Args:
            obj: The content.
            filepath: Where to.
            encoding: How the text becomes bytes.
        """
        write_atomically(filepath, obj.encode(encoding))


register_backend(ATOMIC, AtomicBackend, force=True)
