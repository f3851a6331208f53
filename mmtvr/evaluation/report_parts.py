"""What a report says: of one direction, in one row, and as a whole."""

from dataclasses import asdict, dataclass, field


@dataclass
class DirectionReport:
    """Results of one direction.

    Attributes:
        queries: Number of queries.
        items: Number of items that are ranked.
        measures: ``R1``, ``R5``, ``R10``, ``R50``, ``mAP`` and ``NDCG10`` in
            0..100, ``MdR`` and ``MnR`` from 1.
        intervals: 95 % bootstrap interval of each measure.
        tie_share: Share of queries whose answer ties with a wrong item.
        policies: The measures of all three tie policies where they differ.
    """

    queries: int
    items: int
    measures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    tie_share: float
    policies: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class ReportRow:
    """Results of the raw or of one kind of rescored scores.

    Attributes:
        label: ``'raw'`` or the label of the rescoring.
        needs_all_queries: Whether all test queries are needed at once.
        t2v: Text to video.
        v2t: Video to text.
        RSum: Sum of R@1, R@5 and R@10 of both directions.
    """

    label: str
    needs_all_queries: bool
    t2v: DirectionReport
    v2t: DirectionReport
    RSum: float = 0.0

    def __post_init__(self) -> None:
        both = (self.t2v.measures, self.v2t.measures)
        self.RSum = sum(each[f'R{k}'] for each in both for k in (1, 5, 10))


@dataclass
class Report:
    """What an evaluation found.

    Attributes:
        about: Facts that stand above the numbers: protocol, ceiling, decoder,
            frame sampling and the like.
        ties: The policy of the measures.
        rows: Raw first.
    """

    about: dict[str, str]
    ties: str
    rows: list[ReportRow]

    def as_dict(self) -> dict:
        """Plain numbers, lists and dicts, for JSON."""
        return asdict(self)
