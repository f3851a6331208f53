"""How far each numeric test is from its reference.

Runs pytest and notes, for every test that compares tensors with
``torch.testing.assert_close``, the largest absolute difference that it saw:
``python -m benchmarks.measure_deviations tests/losses tests/models``.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest
import torch


class DeviationRecorder:
    """Plugin of pytest that listens to ``assert_close``."""

    def __init__(self) -> None:
        self.largest: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Listen while one test runs.

        Args:
            item: The test.

        Yields:
            Once, to run it.
        """
        compare = torch.testing.assert_close
        name = item.nodeid.split('[')[0]

        def listen(
            actual: object, expected: object, **options: object
        ) -> None:
            if torch.is_tensor(actual) and actual.numel():
                other = torch.as_tensor(expected)
                apart = actual.detach().double() - other.detach().double()
                largest = apart.abs().nan_to_num().max().item()
                self.largest[name] = max(self.largest[name], largest)
            compare(actual, expected, **options)

        torch.testing.assert_close = listen
        try:
            return (yield)
        finally:
            torch.testing.assert_close = compare


def main() -> int:
    """Run pytest with the arguments of the command line.

    Returns:
        The exit status of pytest.
    """
    recorder = DeviationRecorder()
    arguments = ['-q', '-n', '0', *(sys.argv[1:] or ['tests'])]
    status = pytest.main(arguments, plugins=[recorder])
    for name, deviation in sorted(recorder.largest.items()):
        print(f'{deviation:9.1e}  {name}')
    return int(status)


if __name__ == '__main__':
    sys.exit(main())
