"""What people say of results, right or wrong, kept with the query."""

import json
import os
import threading
import time
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from mmtvr.errors import SetupError
from mmtvr.files import atomic_path

QUERIES_ENDING = '.queries.tsv'
BLOCK = 4096


class Judgements:
    """A file of judgements, one JSON object a line; the last one counts.

    Nothing is changed in it, lines are added: what was said earlier stays
    there to be read.

    Args:
        path: The file; made with the first judgement.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()

    def add(self, query: str, key: str, relevant: bool | None) -> None:
        """Keep whether a file is right for a query; None takes it back."""
        line = json.dumps(
            dict(time=time.time(), query=query, key=key, relevant=relevant)
        )
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'ab+') as file:
                _drop_unfinished(file)
                file.write(line.encode() + b'\n')

    def of_query(self, query: str) -> dict[str, bool]:
        """What was said of the results of a query, by the keys of files."""
        return self.read().get(query, {})

    def read(self) -> dict[str, dict[str, bool]]:
        """What was said last of each query and file.

        Raises:
            SetupError: A line is no judgement. One that a killed process
                left unfinished at the end is passed over.
        """
        found: dict[str, dict[str, bool]] = {}
        try:
            text = self.path.read_text('utf-8', 'replace')
        except FileNotFoundError:
            return found
        for number, line in enumerate(text.split('\n')[:-1], 1):
            try:
                said: dict[str, Any] = json.loads(line)
                of_query = found.setdefault(said['query'], {})
                of_query.pop(said['key'], None)
                if said['relevant'] is not None:
                    of_query[said['key']] = bool(said['relevant'])
            except (ValueError, KeyError, TypeError) as error:
                raise SetupError(
                    f'{self.path}, line {number} is no judgement: {error!r}; '
                    'remove the line, or name another file (--judgements)'
                ) from error
        return {query: said for query, said in found.items() if said}

    def export(self, path: str | os.PathLike[str]) -> tuple[int, int]:
        """Write them for evaluation, as TREC has them.

        ``mmtvr evaluate RUN --qrels PATH`` reads them; the run is of
        ``mmtvr search INDEX --queries PATH.queries.tsv --run RUN``.

        Args:
            path: The judgements, ``query 0 document relevance``. The queries
                go beside it, into a file with ``.queries.tsv`` at its end.

        Returns:
            How many queries and judgements there are.

        Raises:
            SetupError: There are none.
        """
        found = self.read()
        if not found:
            raise SetupError(f'there are no judgements in {self.path}')
        names = {query: f'q{n}' for n, query in enumerate(sorted(found), 1)}
        lines = [
            f'{names[query]} 0 {key} {int(said[key])}'
            for query, said in sorted(found.items())
            for key in sorted(said)
        ]
        queries = [f'{n}\t{" ".join(q.split())}' for q, n in names.items()]
        for place, content in (
            (Path(path), lines),
            (Path(f'{os.fspath(path)}{QUERIES_ENDING}'), queries),
        ):
            with atomic_path(place) as partial:
                partial.write_text('\n'.join([*content, '']), 'utf-8')
        return len(found), len(lines)


def _drop_unfinished(file: BinaryIO) -> None:
    """Cut off what a killed process, or a full disk, left of a line.

    It was never acknowledged, and would spoil the one that is added.
    """
    size = end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        place = file.read(end - start).rfind(b'\n')
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        file.truncate(end)


def find_judgements(path: str | None, url: str) -> Path:
    """The file asked for, or one of this index among the user's data.

    Raises:
        SetupError: A folder has its name.
    """
    from platformdirs import user_data_path

    if path:
        if Path(path).is_dir():
            raise SetupError(
                f'--judgements {path} is a folder: give a file, which is '
                'created if it does not exist'
            )
        return Path(path)
    name = blake2b(url.encode('utf-8', 'surrogatepass'), digest_size=8)
    return user_data_path('mmtvr') / 'judgements' / f'{name.hexdigest()}.jsonl'
