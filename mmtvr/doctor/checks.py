"""All checks, in the order in which they are shown."""

from typing import NamedTuple


class Check(NamedTuple):
    """A function that examines one thing.

    Attributes:
        name: What the report calls it.
        function: ``module:function`` below ``mmtvr.doctor``; it returns a
            list of :class:`~mmtvr.doctor.finding.Finding`.
        arguments: Its arguments, texts.
        seconds: How long it may take.
    """

    name: str
    function: str
    arguments: tuple[str, ...] = ()
    seconds: float = 60.0


PACKAGES = (
    *('numpy', 'torch', 'mmengine', 'mmcv', 'mmaction', 'transformers'),
    *('cv2', 'sklearn', 'HanTa', 'lancedb'),
)
READERS = ('AutoReader', 'DecordReader', 'PyAVReader')
OPTIONAL_READERS = ('TorchCodecReader',)


def list_checks(config: str | None) -> list[Check]:
    """Say what is to be examined.

    Args:
        config: A config to examine too.

    Returns:
        The checks.
    """
    checks = [
        Check('versions', 'versions:check_versions'),
        Check('breakages', 'known_breakages:check_breakages'),
        *(Check('imports', 'imports:check_import', (p,)) for p in PACKAGES),
        *(
            Check('decoders', 'decoders:check_reader', (reader,))
            for reader in READERS + OPTIONAL_READERS
        ),
        Check('devices', 'devices:check_devices'),
        Check('two processes', 'two_processes:check_two_processes', (), 90),
        Check('machine', 'machine:check_machine'),
    ]
    if config is not None:
        checks += [
            Check('config', place, (config,), 300)
            for place in (
                'config_data:check_data',
                'config_weights:check_weights',
            )
        ]
    return checks
