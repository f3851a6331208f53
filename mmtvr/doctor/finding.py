"""What a check has to say."""

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal['ok', 'warning', 'error']
SEVERITIES: tuple[Severity, ...] = ('ok', 'warning', 'error')


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        check: Which check speaks: ``versions``, ``decoders``, ...
        subject: What it looked at: a package, a folder, a device.
        severity: ``ok``; ``warning``: something will be slower, missing or
            different; ``error``: mmtvr, or the given config, cannot run.
        text: What was found.
        way_out: What mends it, as a command or a setting where there is one;
            empty where nothing needs mending.
    """

    check: str
    subject: str
    severity: Severity
    text: str
    way_out: str = ''

    def as_dict(self) -> dict[str, str]:
        """The same as a dict of texts."""
        return asdict(self)


def worst(findings: list[Finding]) -> Severity:
    """The severity of a diagnosis as a whole.

    Args:
        findings: Any number of findings.

    Returns:
        The worst severity among them; ``'ok'`` without any.
    """
    ranks = [SEVERITIES.index(finding.severity) for finding in findings]
    return SEVERITIES[max(ranks, default=0)]
